"""Parse a Range header with one range of bytes (RFC 9110 §14). No input or output."""

import re
from dataclasses import dataclass

_ONE_RANGE = re.compile(r"bytes[ \t]*=[ \t]*(\d{0,18})-(\d{0,18})[ \t]*", re.IGNORECASE | re.ASCII)


@dataclass(frozen=True)
class Span:
    """Bytes from ``start`` up to, not including, ``end``."""

    start: int
    end: int


class Unsatisfiable(ValueError):  # noqa: N818 - named for what it says
    """Raised when a range contains no existing byte."""


def parse(header: str | None, size: int) -> Span | None:
    """Return the part of ``size`` bytes that a Range header asks for. None for all bytes.

    A header that this function does not understand, or with several ranges, is ignored, as the standard allows.

    Raises:
        Unsatisfiable: the range contains none of the bytes.
    """
    match = _ONE_RANGE.fullmatch(header or "")
    if match is None or not (match[1] or match[2]):
        return None
    if not match[1]:  # "-n" asks for the last n bytes
        length = min(int(match[2]), size)
        if length == 0:
            raise Unsatisfiable
        return Span(size - length, size)
    start, end = int(match[1]), int(match[2]) + 1 if match[2] else size
    if end <= start and match[2]:
        return None  # "5-2" is not a valid range, so the header is ignored
    if start >= size:
        raise Unsatisfiable
    return Span(start, min(end, size))
