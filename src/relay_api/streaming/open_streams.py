"""Limit the number of open event streams, per token and in total."""

from collections import Counter
from collections.abc import AsyncIterator, Hashable, Iterator
from contextlib import contextmanager

from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from relay_api.http.problems import ApiError, problem


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


class CountedStream(StreamingResponse):
    """An answer that counts as an open stream until it ends or the client disconnects."""

    def __init__(self, body: AsyncIterator[bytes], streams: Streams, token: Hashable, media_type: str) -> None:
        # Without this header, nginx would buffer the stream.
        super().__init__(body, media_type=media_type, headers={"X-Accel-Buffering": "no"})
        self._streams = streams
        self._token = token

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the stream, or the error answer if too many streams are open."""
        try:
            with self._streams.one(self._token):
                await super().__call__(scope, receive, send)
        except ApiError as error:
            refusal = problem(
                error.status_code, error.code, error.detail, headers=error.headers, instance=scope["path"]
            )
            await refusal(scope, receive, send)


def _too_many(what: str, setting: str) -> ApiError:
    detail = f"{what}, the most that {setting} allows; close some, or read the stored log or list instead"
    return ApiError(429, "too_many_streams", detail, {"Retry-After": "5"})
