"""The branches, tags and HEAD that a remote advertises.

Relay reads them from git's packet trace of the fetch. So it needs no second connection, and the refs are neither older
nor newer than the fetched objects. A remote that does not speak git's protocol (plain files behind HTTP) sends no
packets; for such a remote, Relay runs ``git ls-remote``.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from relay_core.domain.errors import RelayError

HEADS = "refs/heads/"
TAGS = "refs/tags/"
RELAY_HEAD = "refs/relay/HEAD"
"""Name of the ref in a mirror for the commit of the remote's HEAD."""

MOST_REFS = 500_000
"""Maximum number of branches and tags of a remote: each needs memory, and a hostile remote may send any number."""

_PACKET = re.compile(r"packet: +(?!upload-pack)\S+< (.*)")
_REF = re.compile(r"([0-9a-f]{40}(?:[0-9a-f]{24})?|unborn) (\S+?)(\\0.*| .*|)")
_SYMREF = re.compile(r"(?: symref-target:| symref=HEAD:|\\0symref=HEAD:)(\S+)")
_ESCAPED = re.compile(r"\\(37777777[0-7]{3}|[0-7]{3})")
"""Matches a byte above 126 in git's trace, written in octal; where C's `char` is signed, it is extended to 32 bits."""
_LISTED = re.compile(r"(?:ref: (?P<target>\S+)|(?P<object>[0-9a-f]{40,64}))\t(?P<name>\S+)")


class TooManyRefs(RelayError):  # noqa: N818 - named after the limit
    """The remote has more than `MOST_REFS` branches and tags."""


@dataclass(frozen=True, slots=True)
class Advertisement:
    """The refs of a remote at the time of a fetch.

    In names, bytes that are not UTF-8 are lone surrogates (Python's ``surrogateescape``).
    """

    refs: Mapping[str, str]
    """Full name of each branch and tag → id of its object."""
    head: str | None
    """Id of HEAD's commit; None if the branch of HEAD has no commit."""
    head_ref: str | None
    """Name of the ref to which HEAD points; None if HEAD is detached (contains a commit) or the name is unknown."""

    @property
    def empty(self) -> bool:
        """Whether the remote has neither a HEAD commit nor branches nor tags, so that nothing can be cloned."""
        return self.head is None and not self.refs

    @property
    def sha256(self) -> bool:
        """Whether the remote's objects have SHA-256 ids, which Relay does not support."""
        return any(len(name) == 64 for name in (self.head or "", *self.refs.values()))

    def missing(self, stored: Mapping[str, str]) -> list[str]:
        """Return the sorted names of the remote's refs that a mirror does not have, or that name another object there.

        Args:
            stored: the refs of the mirror: full name → id of the object.
        """
        expected = dict(self.refs) if self.head is None else {**self.refs, RELAY_HEAD: self.head}
        return sorted(name for name, object_id in expected.items() if stored.get(name) != object_id)


def read_trace(lines: Iterable[str]) -> Advertisement | None:
    """Return the refs in the packet trace (GIT_TRACE_PACKET) of a fetch or clone; None if the remote sent no packet.

    Args:
        lines: the lines of the trace, decoded as Latin-1.

    Raises:
        TooManyRefs: the remote has more than `MOST_REFS` branches and tags.
    """
    found = _Refs()
    has_packets = False
    for line in lines:
        packet = _PACKET.search(line)
        if packet is None:
            continue
        has_packets = True
        ref = _REF.fullmatch(packet[1])
        if ref is not None:
            target = _SYMREF.search(ref[3])
            found.add(_unescaped(ref[2]), ref[1], target and _unescaped(target[1]))
    return found.advertisement() if has_packets else None


def read_listing(lines: Iterable[str]) -> Advertisement:
    """Return the refs in the output of ``git ls-remote --symref``.

    Raises:
        TooManyRefs: the remote has more than `MOST_REFS` branches and tags.
    """
    found = _Refs()
    for line in lines:
        listed = _LISTED.fullmatch(line)
        if listed is not None:
            found.add(listed["name"], listed["object"], listed["target"])
    return found.advertisement()


class _Refs:
    def __init__(self) -> None:
        self._refs: dict[str, str] = {}
        self._head: str | None = None
        self._head_ref: str | None = None

    def add(self, name: str, object_id: str | None, target: str | None) -> None:
        object_id = None if object_id == "unborn" else object_id
        if name == "HEAD":
            self._head = object_id or self._head
            self._head_ref = target or self._head_ref
        elif object_id is not None and name.startswith((HEADS, TAGS)) and not name.endswith("^{}"):
            self._refs[name] = object_id
            if len(self._refs) > MOST_REFS:
                raise TooManyRefs(f"it has more than {MOST_REFS} branches and tags")

    def advertisement(self) -> Advertisement:
        return Advertisement(self._refs, self._head, self._head_ref)


def _unescaped(text: str) -> str:
    raw = _ESCAPED.sub(lambda found: chr(int(found[1], 8) & 0xFF), text)
    return raw.encode("latin-1").decode("utf-8", "surrogateescape")
