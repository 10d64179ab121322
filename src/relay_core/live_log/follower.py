"""Follow logs for the API: history from Postgres, then the live tail. A waiting reader does not occupy a thread."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeVar
from uuid import UUID

import redis.asyncio
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from relay_core.domain.vocabulary import Stream
from relay_core.live_log.redis_entries import id_after, key, piece_for
from relay_core.settings import Settings
from relay_core.store.logs.log_store import LogStore, Piece

LOOK_SECONDS = 5.0
"""Seconds without a live entry after which a reader queries Postgres for new bytes."""
LOOK_WITHOUT_REDIS_SECONDS = 1.0
"""Seconds between two queries of Postgres while Redis delivers no entries."""
READ_BYTES = 256 << 10
"""Most bytes of history that one query of Postgres reads."""
ENTRIES_AT_ONCE = 16
"""Most entries that one read of the live tail returns."""
MAX_CONNECTIONS = 500
"""Most connections to Redis, one for each waiting reader; further readers use Postgres. Redis accepts 10,000 clients
by default."""
HISTORY_THREADS = 8
"""Number of threads that query Postgres for all readers."""

T = TypeVar("T")


class LiveLogFollower:
    """Follows logs for the readers of one API process. Create and use it in the process's event loop."""

    def __init__(self, settings: Settings, store: LogStore) -> None:
        self._store = store
        self._redis: Any = redis.asyncio.Redis.from_url(
            settings.redis_url,
            socket_connect_timeout=1,
            socket_timeout=LOOK_SECONDS + 5,
            max_connections=MAX_CONNECTIONS,
            retry=Retry(NoBackoff(), 0),
        )
        self._threads = ThreadPoolExecutor(HISTORY_THREADS, thread_name_prefix="log-history")

    async def close(self) -> None:
        """Close the connections to Redis and stop the threads; queries that have not begun are dropped."""
        await self._redis.aclose()
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def follow(self, execution_id: UUID, stream: str, offset: int) -> AsyncIterator[Piece]:
        """Yield each byte of a stream from ``offset`` on, once and in order, until the log is complete.

        Raises:
            sqlalchemy.exc.SQLAlchemyError: Postgres is away; the caller may call again with the offset reached.
        """
        place = _Place(execution_id, stream, offset)
        while True:
            before = place.offset
            progress = await self._ask(self._store.progress, execution_id)
            async for piece in self._history(place, progress.sizes[stream]):
                yield piece
            if progress.complete:
                return
            if place.lost and place.offset == before:
                await asyncio.sleep(LOOK_WITHOUT_REDIS_SECONDS)  # nothing new, and Redis cannot wake us
            place.lost = False
            place.last_id = id_after(progress.sizes[Stream.ALL])
            async for piece in self._live(place):
                yield piece

    async def _history(self, place: "_Place", size: int) -> AsyncIterator[Piece]:
        while place.offset < size:
            limit = min(READ_BYTES, size - place.offset)
            pieces = await self._ask(self._store.pieces, place.execution_id, place.stream, place.offset, limit)
            for piece in pieces:
                place.offset = piece.end
                yield piece
            if not pieces:
                return

    async def _live(self, place: "_Place") -> AsyncIterator[Piece]:
        """Yield pieces of the live tail; return when Postgres must be queried.

        That is the case after `LOOK_SECONDS` without an entry, a gap, an error of Redis, or the mark of the log's end.
        """
        while entries := await self._listen(place):
            for entry_id, fields in entries:
                place.last_id = entry_id.decode()
                piece = piece_for(fields, place.stream, place.offset)
                if piece is None:
                    place.lost = True
                    return
                if piece.data:
                    place.offset = piece.end
                    yield piece

    async def _ask(self, query: Callable[..., T], *arguments: Any) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._threads, query, *arguments)

    async def _listen(self, place: "_Place") -> Sequence[tuple[bytes, Mapping[bytes, bytes]]]:
        try:
            answer = await self._redis.xread(
                {key(place.execution_id): place.last_id}, block=int(LOOK_SECONDS * 1000), count=ENTRIES_AT_ONCE
            )
        except (RedisError, OSError):
            place.lost = True
            return []
        return answer[0][1] if answer else []


@dataclass
class _Place:
    """The position of one reader.

    Attributes:
        offset: first byte of `stream` that the reader does not have.
        last_id: ID of the last Redis entry that the reader has seen.
        lost: True if Redis was away or has no entry that continues at `offset`.
    """

    execution_id: UUID
    stream: str
    offset: int
    last_id: str = "0-0"
    lost: bool = False
