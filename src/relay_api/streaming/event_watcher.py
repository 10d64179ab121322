"""Waking readers of events and of conversations."""

from collections.abc import Sequence
from typing import Any, cast
from uuid import UUID

from sqlalchemy import Engine, literal_column, select

from relay_api.streaming.position_watcher import Watch
from relay_core.store.events import GlobalCursor
from relay_core.store.executions import conversations
from relay_core.store.executions.conversations import Progress
from relay_core.store.schema.tables import Event, Workspace


class EventWatch:
    """Lets coroutines wait for events behind a cursor."""

    def __init__(self, database: Engine) -> None:
        self._database = database
        self._watch: Watch[UUID | None] = Watch(self._latest)

    async def wait_workspace(self, workspace_id: UUID, after: int) -> None:
        """Return when the workspace has an event behind ``after``."""
        await self._watch.wait(workspace_id, after)

    async def wait_any(self, after: GlobalCursor) -> GlobalCursor:
        """Return when some workspace has a readable event behind ``after``: the cursor of the latest."""
        return cast("GlobalCursor", await self._watch.wait(None, after))

    def _latest(self, keys: Sequence[UUID | None]) -> dict[UUID | None, Any]:
        ids = [key for key in keys if key is not None]
        found: dict[UUID | None, Any] = {}
        with self._database.connect() as connection:
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


class ConversationWatch:
    """Lets coroutines wait for what an agent says next."""

    def __init__(self, database: Engine) -> None:
        self._database = database
        self._watch: Watch[UUID] = Watch(self._latest)

    async def wait(self, execution_id: UUID, after: int) -> Progress:
        """Return when the conversation has changed behind ``after``, or is complete."""
        return cast("Progress", await self._watch.wait(execution_id, Progress(after, complete=False)))

    def _latest(self, ids: Sequence[UUID]) -> dict[UUID, Progress]:
        with self._database.connect() as connection:
            return conversations.progress(connection, ids)
