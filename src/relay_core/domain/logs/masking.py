"""Masking of secrets in a byte stream, in place: every byte of a secret becomes ``*``, so that offsets stay true.

The output is a function of the whole input and not of how it was cut: what could still become part of a secret is held
back until it is decided. What to look for is `relay_core.domain.logs.secret_forms`' business.
"""

import bisect
import itertools
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from ahocorasick_rs import BytesAhoCorasick

MASK = b"*"
CUT = "…"
"""What a text that was shortened ends with."""

HEAD_BYTES = 8
"""All secrets are looked for at once by their first bytes; what follows is compared where those are found."""
SEARCH_BYTES = 64 << 10
"""Searched at once: a text of nothing but beginnings of secrets gives a find for every byte."""


def context_bytes(secrets: Sequence[bytes]) -> int:
    """How many raw bytes before an offset a masker needs to go on there."""
    return max((len(secret) for secret in secrets), default=1) - 1


class Masker:
    """Masks one stream, piece by piece.

    Args:
        secrets: the exact values; none may be empty.
        context: the last `context_bytes` raw bytes before the first one that will be fed (fewer at the start of a
            stream). Whether those were masked was decided before, but a secret may begin in them.
    """

    def __init__(self, secrets: "Sequence[bytes] | Patterns", context: bytes = b"") -> None:
        self._search: Patterns | None = None
        if isinstance(secrets, Patterns):
            self._search = secrets
        elif secrets:
            self._search = Patterns(secrets)
        self._raw = b""
        """Undecided raw bytes: a proper prefix of a secret, at the end of what was fed."""
        self._spans: list[_Span] = []
        """What of `_raw` is known to be of a secret."""
        self._open: list[_Place] = []
        """Where in `_raw` a secret may have begun."""
        self._skip = 0
        """So many bytes at the front of `_raw` are context and never given out."""
        self.feed(context)
        self._skip = len(self._raw)

    @property
    def held(self) -> int:
        """Bytes fed and not yet given out."""
        return len(self._raw) - self._skip

    def feed(self, data: bytes) -> bytes:
        """Take the next raw bytes and give out all that is decided."""
        if self._search is None:
            return data
        raw = self._raw + data if self._raw else data
        # What was searched is not searched again, or small pieces of a long secret would cost its square.
        places = itertools.chain(self._open, self._search.places(raw, len(self._raw)))
        spans = _Spans(self._spans)
        begun: list[_Place] = []
        for place in places:
            spans.add(raw, place)
            if place.is_open(raw):
                begun.append(place)
        self._open = begun
        undecided = len(raw) - begun[0].at if begun else self._search.short_start(raw)
        return self._give(raw, spans.found, len(raw) - undecided)

    def finish(self) -> bytes:
        """Give out what is held: the stream has ended, so nothing of it can become a secret any more."""
        self._open = []
        return self._give(self._raw, self._spans, len(self._raw))

    def _give(self, raw: bytes, spans: list["_Span"], decided: int) -> bytes:
        out = _masked(raw[:decided], spans)[self._skip :]
        self._skip = max(0, self._skip - decided)
        self._raw = raw[decided:]
        self._spans = [_Span(max(0, start - decided), end - decided) for start, end in spans if end > decided]
        self._open = [_Place(at - decided, secrets) for at, secrets in self._open]
        return out


class SecretMask:
    """Masks whole texts, as they are before they are stored.

    Args:
        secrets: the exact values; none may be empty.
    """

    def __init__(self, secrets: Sequence[bytes] = ()) -> None:
        self.learn(secrets)

    def learn(self, secrets: Sequence[bytes]) -> None:
        """From now on, mask these; any thread may be using the mask meanwhile."""
        self._patterns = Patterns(secrets) if secrets else None
        self.secrets = tuple(secrets)

    def data(self, data: bytes) -> bytes:
        """The same with every secret masked."""
        patterns = self._patterns
        if patterns is None:
            return data
        masker = Masker(patterns)
        return masker.feed(data) + masker.finish()

    def text(self, text: str) -> str:
        """The same with every secret masked; at its end also a beginning of one: a text may grow, or be cut."""
        patterns = self._patterns
        if patterns is None:
            return text
        if text.endswith(CUT):
            return self.text(text.removesuffix(CUT)) + CUT
        masker = Masker(patterns)
        decided, held = masker.feed(text.encode("utf-8", "surrogateescape")), masker.held
        rest = MASK * held if held >= HEAD_BYTES else masker.finish()
        return (decided + rest).decode("utf-8", "replace")


class _Span(NamedTuple):
    start: int
    end: int


class _Sharing:
    """Secrets that begin alike; there may be a thousand, as of a file with a line for each user."""

    def __init__(self, secrets: Sequence[bytes]) -> None:
        self._all = tuple(secrets)
        self._ordered = sorted(secrets)
        self._values = frozenset(secrets)
        self._lengths = sorted({len(secret) for secret in secrets}, reverse=True)
        self.longest = self._lengths[0]

    def at(self, raw: bytes, at: int) -> bytes | None:
        """The longest of them that is there."""
        if not raw.startswith(self._all, at):
            return None
        return next(piece for length in self._lengths if (piece := raw[at : at + length]) in self._values)

    def may_become(self, tail: bytes) -> bool:
        """Whether ``tail`` is a proper prefix of one of them."""
        after = bisect.bisect_right(self._ordered, tail)
        return after < len(self._ordered) and self._ordered[after].startswith(tail)


class _Place(NamedTuple):
    """Where some secrets may begin."""

    at: int
    secrets: _Sharing

    def is_open(self, raw: bytes) -> bool:
        """Whether the text ends within one of them."""
        return self.at + self.secrets.longest > len(raw) and self.secrets.may_become(raw[self.at :])


class _Spans:
    """What secrets cover, in order, each span apart from the next."""

    def __init__(self, known: Iterable[_Span]) -> None:
        self.found = list(known)
        self._reach = self.found[-1].end if self.found else -1

    def add(self, raw: bytes, place: _Place) -> None:
        """The longest of the secrets that are at a place, and its repetitions right behind it."""
        at, secrets = place
        secret = secrets.at(raw, at) if at + secrets.longest > self._reach else None
        if secret is None:
            return
        end = at + len(secret)
        while raw.startswith(secret, end):
            end += len(secret)
        if end > self._reach:
            self._put(at, end)

    def _put(self, at: int, end: int) -> None:
        start = at
        while self.found and self.found[-1].end >= start:
            start = min(start, self.found.pop().start)
        self.found.append(_Span(start, end))
        self._reach = end


class Patterns:
    """Some secrets, ready to be looked for.

    Raises:
        ValueError: one is empty.
    """

    def __init__(self, secrets: Sequence[bytes]) -> None:
        shortest = min(map(len, secrets))
        if not shortest:
            raise ValueError("a secret to mask must not be empty")
        self._size = min(HEAD_BYTES, shortest)
        by_head: dict[bytes, list[bytes]] = {}
        for secret in dict.fromkeys(secrets):
            by_head.setdefault(secret[: self._size], []).append(secret)
        self._secrets = [_Sharing(alike) for alike in by_head.values()]
        self._heads = BytesAhoCorasick(list(by_head))
        self._starts = {head[:length] for head in by_head for length in range(1, self._size)}

    def places(self, raw: bytes, searched: int) -> Iterator[_Place]:
        """Where a head is, in order, that is not within the first ``searched`` bytes."""
        for begin in range(max(0, searched - self._size + 1), len(raw), SEARCH_BYTES):
            piece = raw[begin : begin + SEARCH_BYTES + self._size - 1]
            for head, at, _ in self._heads.find_matches_as_indexes(piece, overlapping=True):
                yield _Place(begin + at, self._secrets[head])

    def short_start(self, raw: bytes) -> int:
        """The longest suffix, shorter than a head, with which a secret begins."""
        lengths = range(min(self._size - 1, len(raw)), 0, -1)
        return next((length for length in lengths if raw[-length:] in self._starts), 0)


def _masked(raw: bytes, spans: Iterable[_Span]) -> bytes:
    if not spans:
        return raw
    out = bytearray(raw)
    for start, end in spans:
        out[start:end] = MASK * (min(end, len(raw)) - start)
    return bytes(out[: len(raw)])
