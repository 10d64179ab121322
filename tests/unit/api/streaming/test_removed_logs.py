"""A stream of a log whose bytes are removed while it is read: the last event says so."""

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any
from uuid import UUID

from relay_api.streaming import log_frames
from relay_core.domain.vocabulary import Stream
from relay_core.store.logs.log_store import Piece
from relay_core.store.logs.removed import LogRemoved, RemovedLog

EXECUTION = UUID(int=7)
AT = datetime(2026, 11, 27, tzinfo=UTC)


async def _follow(execution_id: UUID, stream: str, _offset: int) -> AsyncIterator[Piece]:
    yield Piece("stdout", 0, b"abc")
    raise LogRemoved(execution_id, stream, RemovedLog(3, 10, "0" * 64, AT, "age"))


def test_the_last_event_of_the_stream_says_which_bytes_are_gone():
    services: Any = SimpleNamespace(live=SimpleNamespace(follow=_follow))

    async def frames() -> list[bytes]:
        log = log_frames.FollowedLog(EXECUTION, Stream.STDOUT, 0, "utf8")
        return [frame async for frame in log_frames.follow(services, log)]

    first, last = asyncio.run(frames())
    assert b'"text":"abc"' in first
    head, _, data = last.decode().strip().partition("data: ")
    assert head.split("\n")[:2] == ["id: 3", "event: removed"]
    assert json.loads(data) == {
        "stream": "stdout",
        "start": 3,
        "end": 10,
        "sha256": "0" * 64,
        "removed_at": "2026-11-27T00:00:00+00:00",
        "cause": "age",
    }
