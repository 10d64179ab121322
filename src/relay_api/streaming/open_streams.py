"""Limit the number of open event streams, per token and in total."""

from collections import Counter
from collections.abc import Hashable, Iterator
from contextlib import contextmanager

from relay_api.http.problems import ApiError


class Streams:
    """Counts the open event streams of this process. Use it in the event loop only.

    Args:
        most: most open streams in total.
        most_of_one: most open streams of one token.
    """

    def __init__(self, most: int, most_of_one: int) -> None:
        self._most = most
        self._most_of_one = most_of_one
        self._open: Counter[Hashable] = Counter()

    @contextmanager
    def one(self, token: Hashable) -> Iterator[None]:
        """Count one stream of this token as open while the block runs.

        Raises:
            ApiError: 429: the token or the process already has as many streams open as allowed.
        """
        if self._open[token] >= self._most_of_one:
            raise _too_many(f"this token has {self._most_of_one} streams open", "RELAY_API_MAX_STREAMS_PER_TOKEN")
        if self._open.total() >= self._most:
            raise _too_many(f"this server has {self._most} streams open", "RELAY_API_MAX_STREAMS")
        self._open[token] += 1
        try:
            yield
        finally:
            self._open[token] -= 1
            if not self._open[token]:
                del self._open[token]


def _too_many(what: str, setting: str) -> ApiError:
    detail = f"{what}, the most that {setting} allows; close some, or read the stored log or list instead"
    return ApiError(429, "too_many_streams", detail, {"Retry-After": "5"})
