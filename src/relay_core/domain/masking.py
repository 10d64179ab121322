"""Masking of secrets in a byte stream, in place: every byte of a secret becomes ``*``, so that offsets stay true.

The output is a function of the whole input and not of how it was cut: what could still become part of a secret is held
back until it is decided.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

MIN_SECRET_BYTES = 8
"""Shorter values are not registered: they occur by chance, and masking them would only make a log unreadable."""

MASK = b"*"


def maskable(values: Iterable[str]) -> tuple[bytes, ...]:
    """What to register for some secret values: each value, and each line of a value of several lines.

    A line counts of its own because programs print keys line by line. What is shorter than `MIN_SECRET_BYTES` is left
    out; the result is unique and has the longest first.
    """
    found: set[bytes] = set()
    for value in values:
        whole = value.encode("utf-8", "surrogateescape")
        found.update((whole, *(line.removesuffix(b"\r") for line in whole.split(b"\n"))))
    return tuple(sorted((each for each in found if len(each) >= MIN_SECRET_BYTES), key=lambda each: (-len(each), each)))


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

    def __init__(self, secrets: Sequence[bytes], context: bytes = b"") -> None:
        self._secrets = tuple(_Secret(secret, _period(secret)) for secret in dict.fromkeys(secrets))
        self._raw = b""
        """Undecided raw bytes: a proper prefix of a secret, at the end of what was fed."""
        self._covered = 0
        """So many bytes at the front of `_raw` belong to a secret that began before it."""
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
        if not self._secrets:
            return data
        raw = self._raw + data if self._raw else data
        return self._give(raw, len(raw) - self._undecided(raw))

    def finish(self) -> bytes:
        """Give out what is held: the stream has ended, so nothing of it can become a secret any more."""
        return self._give(self._raw, len(self._raw))

    def _give(self, raw: bytes, decided: int) -> bytes:
        spans = [span for secret in self._secrets for span in _spans(raw, secret)]
        if self._covered:
            spans.append(_Span(0, self._covered))
        out = _masked(raw, spans)[self._skip : decided] if spans else raw[self._skip : decided]
        self._skip = max(0, self._skip - decided)
        reach = max((self._covered, *(span.end for span in spans if span.start < decided)))
        self._covered = max(0, reach - decided)
        self._raw = raw[decided:]
        return out

    def _undecided(self, raw: bytes) -> int:
        return max(_open_suffix(raw, secret.value) for secret in self._secrets)


class _Secret(NamedTuple):
    value: bytes
    period: int
    """Smallest shift by which it can overlap itself; its length if it cannot."""


class _Span(NamedTuple):
    start: int
    end: int


def _period(secret: bytes) -> int:
    """The smallest p > 0 with ``secret[p:]`` a prefix of ``secret``."""
    if not secret:
        raise ValueError("a secret to mask must not be empty")
    return len(secret) - _open_suffix(secret[1:], secret)


def _open_suffix(raw: bytes, secret: bytes) -> int:
    """Length of the longest suffix of ``raw`` that is a proper prefix of ``secret``."""
    size = len(raw)
    first = secret[:1]
    at = raw.find(first, max(0, size - len(secret) + 1))
    while at >= 0:
        if secret.startswith(raw[at:]):
            return size - at
        at = raw.find(first, at + 1)
    return 0


def _spans(raw: bytes, secret: _Secret) -> list[_Span]:
    """What occurrences of one secret cover, overlapping ones joined where they repeat."""
    spans = []
    value, period = secret
    at = raw.find(value)
    while at >= 0:
        end = at + len(value)
        # Without this a stream that repeats the secret would cost a search per occurrence.
        end += (_repeats_until(raw, end, period) - end) // period * period
        spans.append(_Span(at, end))
        at = raw.find(value, end - len(value) + 1)
    return spans


def _repeats_until(raw: bytes, end: int, period: int) -> int:
    """How far the bytes from ``end`` on equal those one ``period`` before, compared in growing pieces."""
    if raw[end : end + 1] != raw[end - period : end - period + 1]:
        return end
    step = period
    while step:
        piece = raw[end : end + step]
        if len(piece) == step and piece == raw[end - period : end - period + step]:
            end += step
            step *= 2
        else:
            step //= 2
    return end


def _masked(raw: bytes, spans: Iterable[_Span]) -> bytes:
    out = bytearray(raw)
    for start, end in spans:
        out[start:end] = MASK * (end - start)
    return bytes(out)
