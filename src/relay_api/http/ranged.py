"""The answer to a request for bytes of a log, whole or one range of them."""

from dataclasses import dataclass

from relay_api.http import byte_range
from relay_api.http.byte_range import Span
from relay_api.http.problems import ApiError


@dataclass(frozen=True)
class RangedAnswer:
    """The bytes to send, the status of the answer (200 or 206), and its headers about length and range."""

    span: Span
    status: int
    headers: dict[str, str]


def ranged_answer(header: str | None, size: int) -> RangedAnswer:
    """Return the answer to a Range header for a log that has ``size`` bytes; a header of None asks for all bytes.

    Raises:
        ApiError: 416 `range_not_satisfiable`: the range contains none of the bytes.
    """
    try:
        span = byte_range.parse(header, size)
    except byte_range.Unsatisfiable as error:
        detail = f"the log has {size} bytes by now"
        raise ApiError(416, "range_not_satisfiable", detail, {"Content-Range": f"bytes */{size}"}) from error
    part = span or Span(0, size)
    headers = {"Accept-Ranges": "bytes", "Content-Length": str(part.end - part.start)}
    if span is None:
        return RangedAnswer(part, 200, headers)
    return RangedAnswer(part, 206, headers | {"Content-Range": f"bytes {part.start}-{part.end - 1}/{size}"})
