"""What a remote says it has: its branches, tags and HEAD.

Read from git's packet trace of the connection that fetches: it costs no second connection, and is neither older nor
newer than what was fetched. A remote that speaks no git protocol (files behind HTTP) leaves no packets; then
``git ls-remote``
asks it.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from relay_core.domain.errors import RelayError

HEADS = "refs/heads/"
TAGS = "refs/tags/"
RELAY_HEAD = "refs/relay/HEAD"
"""Where a mirror has its remote's HEAD."""

MOST_REFS = 500_000
"""Branches and tags of one remote; a hostile one could name them without end, and each takes the worker's memory."""

_PACKET = re.compile(r"packet: +(?!upload-pack)\S+< (.*)")
_REF = re.compile(r"([0-9a-f]{40}(?:[0-9a-f]{24})?|unborn) (\S+?)(\\0.*| .*|)")
_SYMREF = re.compile(r"(?: symref-target:| symref=HEAD:|\\0symref=HEAD:)(\S+)")
_ESCAPED = re.compile(r"\\(37777777[0-7]{3}|[0-7]{3})")
"""How git writes a byte above 126: in octal, where `char` is signed with the sign's bits before it."""
_LISTED = re.compile(r"(?:ref: (?P<target>\S+)|(?P<object>[0-9a-f]{40,64}))\t(?P<name>\S+)")


class TooManyRefs(RelayError):  # noqa: N818 - named for what it says
    """The remote has more than `MOST_REFS`."""


@dataclass(frozen=True, slots=True)
class Advertisement:
    """The refs of a remote at the moment of a fetch; bytes of names that are not UTF-8 are surrogates."""

    refs: Mapping[str, str]
    """Object of each branch and tag, by full name."""
    head: str | None
    """Commit of HEAD; None where its branch has no commit."""
    head_ref: str | None
    """The ref that HEAD is; None where it names a commit, or the remote does not say."""

    @property
    def empty(self) -> bool:
        """Whether there is nothing that could be cloned."""
        return self.head is None and not self.refs

    @property
    def sha256(self) -> bool:
        """Whether its objects have names of 256 bits."""
        return any(len(name) == 64 for name in (self.head or "", *self.refs.values()))

    def missing(self, stored: Mapping[str, str]) -> list[str]:
        """Refs that a mirror with these refs does not have as the remote has them."""
        wanted = dict(self.refs) if self.head is None else {**self.refs, RELAY_HEAD: self.head}
        return sorted(name for name, object_id in wanted.items() if stored.get(name) != object_id)


def read_trace(lines: Iterable[str]) -> Advertisement | None:
    """What the packet trace of a fetch or clone tells; None where no packet came from the remote.

    Raises:
        TooManyRefs: more than are taken.
    """
    found = _Refs()
    spoke = False
    for line in lines:
        packet = _PACKET.search(line)
        if packet is None:
            continue
        spoke = True
        ref = _REF.fullmatch(packet[1])
        if ref is not None:
            target = _SYMREF.search(ref[3])
            found.add(_unescaped(ref[2]), ref[1], target and _unescaped(target[1]))
    return found.advertisement() if spoke else None


def read_listing(lines: Iterable[str]) -> Advertisement:
    """What ``git ls-remote --symref`` prints."""
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
