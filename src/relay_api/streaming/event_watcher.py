"""Watchers that wake coroutines when there are new events or when a conversation has changed."""

from collections.abc import Sequence
from typing import Any, cast
from uuid import UUID

from relay_api.streaming.position_watcher import PositionWatcher
from relay_core.store import events, global_events
from relay_core.store.executions import conversations
from relay_core.store.executions.conversations import Progress
from relay_core.store.transaction import Database


class EventWatcher:
    """Lets coroutines wait for events after a cursor."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._watch: PositionWatcher[UUID | None] = PositionWatcher(self._latest)

    async def wait_workspace(self, workspace_id: UUID, after: int) -> None:
        """Wait until the workspace has an event after the cursor ``after``."""
        await self._watch.wait(workspace_id, after)

    async def wait_any(self, after: int) -> int:
        """Wait until any workspace has an event after the position ``after``; return that of the newest one."""
        return cast("int", await self._watch.wait(None, after))

    def _latest(self, keys: Sequence[UUID | None]) -> dict[UUID | None, Any]:
        ids = [key for key in keys if key is not None]
        found: dict[UUID | None, Any] = {}
        if ids:
            with self._database.connect() as connection:
                found = dict(events.workspace_cursors(connection, ids).items())
        if None in keys:
            found[None] = global_events.newest(self._database)
        return found


class ConversationWatcher:
    """Lets coroutines wait for changes of conversations."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._watch: PositionWatcher[UUID] = PositionWatcher(self._latest)

    async def wait(self, execution_id: UUID, after: int) -> Progress:
        """Wait until the conversation is complete or changes after sequence ``after``; return its progress."""
        return cast("Progress", await self._watch.wait(execution_id, Progress(after, complete=False)))

    def _latest(self, ids: Sequence[UUID]) -> dict[UUID, Progress]:
        with self._database.connect() as connection:
            return conversations.progress(connection, ids)
