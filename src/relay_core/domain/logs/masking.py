"""Masking of secrets in a byte stream: every byte of a secret becomes ``*``, so offsets and sizes do not change.

The output depends on the whole input and not on the pieces in which it arrives: bytes that may be the beginning of a
secret are held back until enough bytes have followed to decide. `relay_core.domain.logs.secret_forms` makes the byte
strings to look for.
"""

import bisect
import itertools
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from ahocorasick_rs import BytesAhoCorasick

MASK = b"*"
CUT = "…"
"""Last character of a text that was shortened."""

HEAD_BYTES = 8
"""Number of first bytes of each secret that the search looks for.

Where they are found, the rest of the secret is compared.
"""
SEARCH_BYTES = 64 << 10
"""Bytes of one search, which bounds its matches: text made of beginnings of secrets has one at every byte."""


def context_bytes(secrets: Sequence[bytes]) -> int:
    """Return how many raw bytes before an offset a `Masker` needs to begin at that offset.

    A secret that covers the offset may begin so many bytes before it.
    """
    return max((len(secret) for secret in secrets), default=1) - 1


class Masker:
    """Masks one stream, which is fed piece by piece.

    Args:
        secrets: the exact values; no value may be empty. `Patterns` that were prepared before are accepted, too.
        context: the last `context_bytes` raw bytes before the first byte that will be fed; fewer at the start of a
            stream. They are not returned again, but a secret may begin in them.
    """

    def __init__(self, secrets: "Sequence[bytes] | Patterns", context: bytes = b"") -> None:
        self._search: Patterns | None = None
        if isinstance(secrets, Patterns):
            self._search = secrets
        elif secrets:
            self._search = Patterns(secrets)
        self._raw = b""
        """Raw bytes at the end of the input that may be the beginning of a secret, so they are not decided yet."""
        self._spans: list[_Span] = []
        """Parts of `_raw` that are known to belong to secrets."""
        self._open: list[_Place] = []
        """Places in `_raw` where a secret may have begun whose end has not arrived yet."""
        self._skip = 0
        """Number of bytes at the front of `_raw` that are context and are never returned."""
        self.feed(context)
        self._skip = len(self._raw)

    @property
    def held(self) -> int:
        """Number of bytes that were fed and have not been returned yet."""
        return len(self._raw) - self._skip

    def feed(self, data: bytes) -> bytes:
        """Take the next raw bytes; return, masked, all bytes of which it is decided whether they are secret."""
        if self._search is None:
            return data
        raw = self._raw + data if self._raw else data
        # Bytes are searched once: else a long secret in small pieces would cost the square of its length.
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
        """Return the bytes held back, masked. The stream has ended, so an incomplete secret stays incomplete."""
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
    """Masks whole texts before they are stored; any thread may use it, even while the secrets are replaced.

    Args:
        secrets: the exact values; no value may be empty.
    """

    def __init__(self, secrets: Sequence[bytes] = ()) -> None:
        self.set_secrets(secrets)

    def set_secrets(self, secrets: Sequence[bytes]) -> None:
        """Mask exactly these secrets from now on. Earlier ones that are not among these are masked no longer."""
        self._patterns = Patterns(secrets) if secrets else None
        self.secrets = tuple(secrets)

    def data(self, data: bytes) -> bytes:
        """Return the bytes with every secret masked."""
        patterns = self._patterns
        if patterns is None:
            return data
        masker = Masker(patterns)
        return masker.feed(data) + masker.finish()

    def text(self, text: str) -> str:
        """Return the text with every secret masked, and with a replacement character for each byte that is not UTF-8.

        At the end of the text the beginning of a secret is masked as well (if it has `HEAD_BYTES` or more), as the text
        may grow or may have been cut there.
        """
        patterns = self._patterns
        if patterns is None:
            return text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
        if text.endswith(CUT):
            return self.text(text.removesuffix(CUT)) + CUT
        masker = Masker(patterns)
        decided, held = masker.feed(text.encode("utf-8", "surrogateescape")), masker.held
        rest = MASK * held if held >= HEAD_BYTES else masker.finish()
        return (decided + rest).decode("utf-8", "replace")


class _Span(NamedTuple):
    start: int
    end: int


class _SecretsWithHead:
    """All secrets that begin with the same bytes. There may be a thousand: a file with a line for each user."""

    def __init__(self, secrets: Sequence[bytes]) -> None:
        self._all = tuple(secrets)
        self._ordered = sorted(secrets)
        self._values = frozenset(secrets)
        self._lengths = sorted({len(secret) for secret in secrets}, reverse=True)
        self.longest = self._lengths[0]

    def at(self, raw: bytes, at: int) -> bytes | None:
        """Return the longest of the secrets that stands in ``raw`` at offset ``at``; None if none does."""
        if not raw.startswith(self._all, at):
            return None
        return next(piece for length in self._lengths if (piece := raw[at : at + length]) in self._values)

    def may_become(self, tail: bytes) -> bool:
        """Return whether ``tail`` is the beginning of one of the secrets, but not all of it."""
        after = bisect.bisect_right(self._ordered, tail)
        return after < len(self._ordered) and self._ordered[after].startswith(tail)


class _Place(NamedTuple):
    """An offset at which the first bytes of some secrets were found, and those secrets."""

    at: int
    secrets: _SecretsWithHead

    def is_open(self, raw: bytes) -> bool:
        """Return whether a secret may begin here that extends beyond the end of ``raw``."""
        return self.at + self.secrets.longest > len(raw) and self.secrets.may_become(raw[self.at :])


class _Spans:
    """The ranges of bytes that secrets cover, in order and without overlap."""

    def __init__(self, known: Iterable[_Span]) -> None:
        self.found = list(known)
        self._reach = self.found[-1].end if self.found else -1

    def add(self, raw: bytes, place: _Place) -> None:
        """Add the range of the longest secret at a place, with direct repetitions of the secret."""
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
    """Secrets, prepared for the search for their first bytes.

    Raises:
        ValueError: a secret is empty.
    """

    def __init__(self, secrets: Sequence[bytes]) -> None:
        shortest = min(map(len, secrets))
        if not shortest:
            raise ValueError("a secret to mask must not be empty")
        self._size = min(HEAD_BYTES, shortest)
        by_head: dict[bytes, list[bytes]] = {}
        for secret in dict.fromkeys(secrets):
            by_head.setdefault(secret[: self._size], []).append(secret)
        self._secrets = [_SecretsWithHead(alike) for alike in by_head.values()]
        self._heads = BytesAhoCorasick(list(by_head))
        self._starts = {head[:length] for head in by_head for length in range(1, self._size)}

    def places(self, raw: bytes, searched: int) -> Iterator[_Place]:
        """Yield, in order, the places where the head (the first bytes) of a secret stands in ``raw``.

        Heads that end within the first ``searched`` bytes were found before and are skipped.
        """
        for begin in range(max(0, searched - self._size + 1), len(raw), SEARCH_BYTES):
            piece = raw[begin : begin + SEARCH_BYTES + self._size - 1]
            for head, at, _ in self._heads.find_matches_as_indexes(piece, overlapping=True):
                yield _Place(begin + at, self._secrets[head])

    def short_start(self, raw: bytes) -> int:
        """Return the length of the longest end of ``raw`` that is the beginning of a secret.

        Only ends shorter than a head are considered; 0 if there is none.
        """
        lengths = range(min(self._size - 1, len(raw)), 0, -1)
        return next((length for length in lengths if raw[-length:] in self._starts), 0)


def _masked(raw: bytes, spans: Iterable[_Span]) -> bytes:
    if not spans:
        return raw
    out = bytearray(raw)
    for start, end in spans:
        out[start:end] = MASK * (min(end, len(raw)) - start)
    return bytes(out[: len(raw)])
