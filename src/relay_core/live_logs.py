"""The live tail: log bytes in a bounded, expiring Redis stream, published after they are in Postgres.

Redis is never believed. A reader takes history from Postgres up to N, then live entries from N; an entry that does not
begin where the reader is (Redis lost, trimmed or never had something) sends it back to Postgres. So the worst that a
Redis failure costs is time.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from typing import Any
from uuid import UUID

import redis
import redis.asyncio
import structlog
from redis.exceptions import RedisError

from relay_core.domain.vocabulary import Stream
from relay_core.postgres.logs import CHUNK_BYTES, LogStore, Piece, Stored
from relay_core.settings import Settings

__all__ = ["LiveLog", "LiveLogPublisher", "Piece"]

log = structlog.get_logger(__name__)

ENTRY_BYTES = 32 << 10
"""Largest entry."""
BURST_BYTES = 256 << 10
"""More than this of one execution in one batch is not copied to Redis: readers are sent to Postgres."""
AWAY_SECONDS = 2.0
"""How long a publisher leaves a Redis alone that did not answer."""
LOOK_SECONDS = 5.0
"""A reader that hears nothing looks into Postgres this often."""
LOOK_WITHOUT_REDIS_SECONDS = 0.5


def key(execution_id: UUID) -> str:
    """Name of an execution's stream."""
    return f"relay:log:{execution_id}"


class LiveLogPublisher:
    """Copies stored chunks to Redis; for one thread. It never raises, and gives up quickly."""

    def __init__(self, settings: Settings) -> None:
        self._redis: Any = redis.Redis.from_url(settings.redis_url, socket_timeout=0.5, socket_connect_timeout=0.5)
        self._ttl = settings.live_log_ttl_seconds
        self._entries = max(8, settings.live_log_max_bytes // ENTRY_BYTES)
        self._away_until = 0.0

    def publish(self, stored: Sequence[Stored]) -> None:
        """Tell readers about chunks that are in Postgres now."""
        by_execution: dict[UUID, list[Stored]] = {}
        for item in stored:
            by_execution.setdefault(item.append.execution_id, []).append(item)
        self._send({one: list(_entries(items)) for one, items in by_execution.items()})

    def end(self, execution_id: UUID) -> None:
        """Tell readers that the log is closed in Postgres."""
        self._send({execution_id: [{"end": b"1"}]})

    def close(self) -> None:
        """Let go of the connection."""
        self._redis.close()

    def _send(self, entries: dict[UUID, list[dict[str, Any]]]) -> None:
        if time.monotonic() < self._away_until:
            return
        try:
            with self._redis.pipeline(transaction=False) as pipe:
                for execution_id, fields in entries.items():
                    for one in fields:
                        pipe.xadd(key(execution_id), one, maxlen=self._entries, approximate=True)
                    pipe.expire(key(execution_id), self._ttl)
                pipe.execute()
        except (RedisError, OSError) as error:
            self._away_until = time.monotonic() + AWAY_SECONDS
            log.warning("the live tail is away; readers use Postgres", error=str(error))


def _entries(items: Sequence[Stored]) -> list[dict[str, Any]]:
    if sum(len(item.append.data) for item in items) > BURST_BYTES:
        return [{"burst": b"1"}]
    return [
        {
            "stream": item.append.stream,
            "offset": item.append.start + begin,
            "all": item.all_offset + begin,
            "data": item.append.data[begin : begin + ENTRY_BYTES],
        }
        for item in items
        for begin in range(0, len(item.append.data), ENTRY_BYTES)
    ]


class LiveLog:
    """Follows logs for the API; many readers in one event loop, no thread for one that waits."""

    def __init__(self, settings: Settings, store: LogStore) -> None:
        self._store = store
        self._redis: Any = redis.asyncio.Redis.from_url(
            settings.redis_url, socket_connect_timeout=1, socket_timeout=LOOK_SECONDS + 5, max_connections=2000
        )

    async def close(self) -> None:
        """Let go of the connections."""
        await self._redis.aclose()

    async def follow(self, execution_id: UUID, stream: str, offset: int) -> AsyncIterator[Piece]:
        """Every byte of a stream from ``offset`` on, once and in order; ends when the log is closed and delivered."""
        last_id = await self._newest_entry(execution_id)
        look = True
        while True:
            if look:
                async for piece in self._history(execution_id, stream, offset):
                    offset = piece.offset + len(piece.data)
                    yield piece
                info = (await asyncio.to_thread(self._store.sizes, execution_id))[stream]
                if info.closed and offset >= info.bytes:
                    return
            entries, look = await self._wait(execution_id, last_id)
            for entry_id, fields in entries:
                last_id = entry_id
                piece_or_gap = _at(fields, stream, offset)
                if piece_or_gap is None:
                    look = True
                elif piece_or_gap.data:
                    offset = piece_or_gap.offset + len(piece_or_gap.data)
                    yield piece_or_gap

    async def _history(self, execution_id: UUID, stream: str, offset: int) -> AsyncIterator[Piece]:
        while True:
            pieces = await asyncio.to_thread(self._store.pieces, execution_id, stream, offset, CHUNK_BYTES)
            for piece in pieces:
                offset = piece.offset + len(piece.data)
                yield piece
            if not pieces:
                return

    async def _newest_entry(self, execution_id: UUID) -> bytes:
        with suppress(RedisError, OSError):
            newest = await self._redis.xrevrange(key(execution_id), count=1)
            if newest:
                entry_id: bytes = newest[0][0]
                return entry_id
        return b"0-0"

    async def _wait(self, execution_id: UUID, last_id: bytes) -> tuple[list[tuple[bytes, dict[bytes, bytes]]], bool]:
        """New entries, and whether Postgres must be asked because none came."""
        try:
            answer = await self._redis.xread({key(execution_id): last_id}, block=int(LOOK_SECONDS * 1000), count=256)
        except (RedisError, OSError):
            await asyncio.sleep(LOOK_WITHOUT_REDIS_SECONDS)  # there is nothing to wait on
            return [], True
        return (answer[0][1], False) if answer else ([], True)


def _at(fields: dict[bytes, bytes], stream: str, offset: int) -> Piece | None:
    """What an entry holds for a reader at ``offset``: new bytes, nothing, or None where Postgres must be asked."""
    if b"data" not in fields:
        return None
    own = fields[b"stream"].decode()
    if stream not in (Stream.ALL, own):
        return Piece(own, offset, b"")
    first = int(fields[b"all" if stream == Stream.ALL else b"offset"])
    if first > offset:
        return None
    return Piece(own, offset, fields[b"data"][offset - first :])
