"""Waking readers of events: one query per tick for all of them, however many there are.

Not LISTEN/NOTIFY: a transaction that notifies takes a lock of the whole cluster at its commit, and every step of
every run would pass through it.
"""

import asyncio
from collections.abc import Hashable
from typing import Any, cast
from uuid import UUID

import structlog
from sqlalchemy import Engine, literal_column, select
from sqlalchemy.exc import SQLAlchemyError
from starlette.concurrency import run_in_threadpool

from relay_core.postgres.events import GlobalCursor
from relay_core.postgres.tables import Event, Workspace

TICK_SECONDS = 0.2
log = structlog.get_logger(__name__)


class EventWatch:
    """Lets coroutines wait for events behind a cursor; the tick runs only while somebody waits."""

    def __init__(self, engine: Engine, tick_seconds: float = TICK_SECONDS) -> None:
        self._engine = engine
        self._tick_seconds = tick_seconds
        self._waiting: dict[UUID | None, set[tuple[Any, asyncio.Future[Any]]]] = {}
        self._ticking: asyncio.Task[None] | None = None

    async def wait_workspace(self, workspace_id: UUID, after: int) -> None:
        """Return when the workspace has an event behind ``after``."""
        await self._wait(workspace_id, after)

    async def wait_any(self, after: GlobalCursor) -> GlobalCursor:
        """Return when some workspace has a readable event behind ``after``: the cursor of the latest."""
        return cast("GlobalCursor", await self._wait(None, after))

    async def _wait(self, key: UUID | None, after: Hashable) -> Any:
        waiter = (after, asyncio.get_running_loop().create_future())
        self._waiting.setdefault(key, set()).add(waiter)
        if self._ticking is None or self._ticking.done():
            self._ticking = asyncio.create_task(self._tick())
        try:
            return await waiter[1]
        finally:
            left = self._waiting.get(key, set())
            left.discard(waiter)
            if not left:
                self._waiting.pop(key, None)

    async def _tick(self) -> None:
        while self._waiting:
            await asyncio.sleep(self._tick_seconds)
            keys = list(self._waiting)
            try:
                latest = await run_in_threadpool(self._latest, keys)
            except SQLAlchemyError as error:
                log.warning("could not look for events; trying again", error=str(error).splitlines()[0])
                continue
            for key in keys:
                for after, future in list(self._waiting.get(key, ())):
                    if key in latest and latest[key] > after and not future.done():
                        future.set_result(latest[key])

    def _latest(self, keys: list[UUID | None]) -> dict[UUID | None, Any]:
        ids = [key for key in keys if key is not None]
        found: dict[UUID | None, Any] = {}
        with self._engine.connect() as connection:
            if ids:
                rows = connection.execute(select(Workspace.id, Workspace.event_seq).where(Workspace.id.in_(ids)))
                found = {row.id: row.event_seq for row in rows}
            if None in keys:
                oldest_open: Any = literal_column("pg_snapshot_xmin(pg_current_snapshot())::text::bigint")
                newest = select(Event.xid, Event.id).where(Event.xid < oldest_open)
                row = connection.execute(newest.order_by(Event.xid.desc(), Event.id.desc()).limit(1)).one_or_none()
                if row is not None:
                    found[None] = GlobalCursor(row.xid, row.id)
        return found
