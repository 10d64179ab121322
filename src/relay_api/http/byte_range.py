"""The Range header (RFC 9110 §14): one range of bytes; pure."""

import re
from dataclasses import dataclass

_ONE_RANGE = re.compile(r"bytes[ \t]*=[ \t]*(\d{0,18})-(\d{0,18})[ \t]*", re.IGNORECASE | re.ASCII)


@dataclass(frozen=True)
class Span:
    """Bytes from ``start`` up to, not including, ``end``."""

    start: int
    end: int


class Unsatisfiable(ValueError):  # noqa: N818 - named for what it says
    """The range lies behind the end."""


def parse(header: str | None, size: int) -> Span | None:
    """The part of ``size`` bytes that a Range header asks for; None: all of them.

    A header that is not understood, and several ranges at once, count as none, as the standard allows.

    Raises:
        Unsatisfiable: the range holds no byte.
    """
    match = _ONE_RANGE.fullmatch(header or "")
    if match is None or not (match[1] or match[2]):
        return None
    if not match[1]:  # the last n bytes
        length = min(int(match[2]), size)
        if length == 0:
            raise Unsatisfiable
        return Span(size - length, size)
    start, end = int(match[1]), int(match[2]) + 1 if match[2] else size
    if end <= start and match[2]:
        return None  # "5-2" is no range at all
    if start >= size:
        raise Unsatisfiable
    return Span(start, min(end, size))
