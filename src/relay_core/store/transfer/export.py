"""Parts of a workspace for another Relay: its rows, the exact bytes of its logs, and its recorded git states.

A part begins at a cursor that the part before gave, so a client that was interrupted goes on wherever it was.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import Connection, func, select

from relay_core.domain.errors import InvalidInput
from relay_core.domain.transfer import FORMAT
from relay_core.domain.vocabulary import MergeKind, Stream
from relay_core.store.logs.log_store import LogStore
from relay_core.store.logs.stream_info import stream_infos
from relay_core.store.schema.tables import (
    Base,
    CodingAgentTurn,
    ConversationEntry,
    Event,
    ExecutionProcess,
    ExecutionProcessRepoState,
    LogStream,
    Merge,
    Operation,
    Run,
    Session,
    Task,
    Workspace,
    WorkspaceRepo,
    WorkspaceSecret,
)
from relay_core.store.transaction import Database
from relay_core.store.transfer.codec import PART_BYTES, PIECE_BYTES, Record, packed
from relay_core.store.transfer.columns import BLOBS, MOVED, columns

E, State = ExecutionProcess, ExecutionProcessRepoState
ROWS_AT_ONCE = 50
"""Most rows of one table that one step reads; an entry of a conversation may have 100 KiB."""


class Place(NamedTuple):
    """The place in a workspace where a part begins.

    Attributes:
        stage: number of the stage in `_STAGES`.
        execution: index of the execution, in the order of their creation; 0 in stages of the whole workspace.
        offset: how much of the stage is in the parts before.
    """

    stage: int = 0
    execution: int = 0
    offset: int = 0

    def __str__(self) -> str:
        """Return the place as a cursor."""
        return "-".join(map(str, self))


@dataclass(frozen=True)
class Part:
    """One part of a workspace.

    Attributes:
        content: as `codec.packed` makes it.
        following: cursor of the next part; None: this is the last one.
    """

    content: bytes
    following: str | None


class Step(NamedTuple):
    """The next records, and the place behind them; None: that is the end."""

    records: Sequence[Record]
    place: Place | None


def part(database: Database, workspace_id: UUID, cursor: str | None) -> Part:
    """Return the part of a workspace that begins at a cursor; None: the first one.

    Raises:
        InvalidInput: `cursor_invalid`.
    """
    place: Place | None = _place(cursor)
    records: list[Record] = []
    size = 0
    with database.connect() as connection:
        export = _Export(connection, LogStore(database, connection), workspace_id)
        while place is not None and size < PART_BYTES:
            step = export.step(place)
            records += step.records
            size += sum(record.size for record in step.records)
            place = step.place
    return Part(packed(records), None if place is None else str(place))


def _place(cursor: str | None) -> Place:
    if cursor is None:
        return Place()
    try:
        stage, execution, offset = (int(number) for number in cursor.split("-"))
    except ValueError:
        stage = execution = offset = -1
    if min(stage, execution, offset) < 0 or stage >= len(_STAGES) or max(execution, offset) >= 1 << 62:
        raise InvalidInput("the cursor is not one of this API; take that of the part before", code="cursor_invalid")
    return Place(stage, execution, offset)


class _Export:
    """Reads a workspace in one snapshot. No execution of it is active."""

    def __init__(self, connection: Connection, logs: LogStore, workspace_id: UUID) -> None:
        self.connection = connection
        self.logs = logs
        self.workspace_id = workspace_id
        mine = select(E.id).where(E.workspace_id == workspace_id).order_by(E.created_at, E.id)
        self.executions = list(connection.scalars(mine))

    def step(self, place: Place) -> Step:
        """Return what comes at a place."""
        return _STAGES[place.stage](self, place)

    def head(self, _place: Place) -> Step:
        mine = Workspace.id == self.workspace_id
        fields: dict[str, Any] = {
            "format": FORMAT,
            "workspace_id": self.workspace_id,
            "workspace": self.rows(Workspace, mine)[0],
            "executions": self.executions,
            "event_seq": self.connection.scalar(select(Workspace.event_seq).where(mine)),
            "subtasks": list(
                self.connection.scalars(select(Task.id).where(Task.parent_workspace_id == self.workspace_id))
            ),
        }
        of_it: dict[str, Any] = {"repos": WorkspaceRepo, "secrets": WorkspaceSecret, "sessions": Session, "runs": Run}
        for name, table in of_it.items():
            fields[name] = self.rows(table, table.workspace_id == self.workspace_id)
        over = (Operation.workspace_id == self.workspace_id) & Operation.completed_at.is_not(None)
        fields["operations"] = self.rows(Operation, over)
        direct = (Merge.workspace_id == self.workspace_id) & (Merge.kind == MergeKind.DIRECT)
        fields["merges"] = self.rows(Merge, direct)
        fields["other_merges"] = list(
            self.connection.scalars(
                select(Merge.id).where(Merge.workspace_id == self.workspace_id, Merge.kind != MergeKind.DIRECT)
            )
        )
        return Step([Record("head", fields)], Place(1))

    def execution(self, place: Place) -> Step:
        if place.execution >= len(self.executions):
            return Step([], Place(_EVENTS))
        execution_id = self.executions[place.execution]
        turn = self.rows(CodingAgentTurn, CodingAgentTurn.execution_process_id == execution_id)
        mine = LogStream.execution_id == execution_id
        fields = {
            "execution": self.rows(E, E.id == execution_id)[0],
            "states": self.rows(State, State.execution_process_id == execution_id),
            "turn": turn[0] if turn else None,
            "streams": [] if self._is_removed(execution_id) else self.rows(LogStream, mine),
        }
        return Step([Record("execution", fields)], place._replace(stage=2))

    def _is_removed(self, execution_id: UUID) -> bool:
        """Return whether the bytes of a log were removed for their age or size; it then moves as if it never was."""
        infos = stream_infos(self.connection, [execution_id]).values()
        return any(info.removed_at is not None for info in infos)

    def blobs(self, place: Place) -> Step:
        """Return the next piece of the patches and bundles of an execution; the offset counts all of them together."""
        execution_id = self.executions[place.execution]
        sizes = [func.octet_length(getattr(State, name)).label(name) for name in BLOBS]
        states = select(State.repo_id, *sizes).where(State.execution_process_id == execution_id)
        before = 0
        for row in self.connection.execute(states.order_by(State.repo_id)).mappings():
            for name in BLOBS:
                size = row[name] or 0
                at = place.offset - before
                if at < size:
                    piece = func.substring(getattr(State, name), at + 1, PIECE_BYTES)
                    of_it = (State.execution_process_id == execution_id) & (State.repo_id == row["repo_id"])
                    data = bytes(self.connection.execute(select(piece).where(of_it)).scalar_one())
                    about = {"execution_id": execution_id, "repo_id": row["repo_id"], "column": name}
                    return Step([Record("blob", about, data)], place._replace(offset=place.offset + len(data)))
                before += size
        return Step([], place._replace(stage=3, offset=0))

    def entries(self, place: Place) -> Step:
        execution_id = self.executions[place.execution]
        mine = (ConversationEntry.execution_id == execution_id) & (ConversationEntry.entry >= place.offset)
        found = self.rows(ConversationEntry, mine, ConversationEntry.entry)
        if not found:
            return Step([], place._replace(stage=4, offset=0))
        records = [Record("entry", {"execution_id": execution_id, "entry": row}) for row in found]
        return Step(records, place._replace(offset=found[-1]["entry"] + 1))

    def log(self, place: Place) -> Step:
        execution_id = self.executions[place.execution]
        removed = self._is_removed(execution_id)
        pieces = [] if removed else self.logs.pieces(execution_id, Stream.ALL, place.offset, PIECE_BYTES)
        if not pieces:
            return Step([], Place(1, place.execution + 1))
        of_it = {"execution_id": execution_id}
        records = [Record("log", {**of_it, "stream": piece.stream}, piece.data) for piece in pieces if piece.data]
        return Step(records, place._replace(offset=pieces[-1].end))

    def events(self, place: Place) -> Step:
        mine = (Event.workspace_id == self.workspace_id) & (Event.workspace_seq > place.offset)
        found = self.rows(Event, mine, Event.workspace_seq)
        if not found:
            return Step([], Place(_EVENTS + 1))
        records = [Record("event", {"event": row}) for row in found]
        return Step(records, place._replace(offset=found[-1]["workspace_seq"]))

    def end(self, _place: Place) -> Step:
        seq = self.connection.scalar(select(Workspace.event_seq).where(Workspace.id == self.workspace_id))
        return Step([Record("end", {"event_seq": seq, "executions": len(self.executions)})], None)

    def rows(self, table: type[Base], condition: Any, order: Any = None) -> list[dict[str, Any]]:
        """Return rows of a table with the columns that move, oldest first; with an order `ROWS_AT_ONCE` at most."""
        statement = select(*columns(table)).where(condition)
        if order is not None:
            statement = statement.order_by(order).limit(ROWS_AT_ONCE)
        else:
            made = [table.__table__.c.created_at] if "created_at" in MOVED[table] else []
            statement = statement.order_by(*made, *table.__table__.primary_key)
        return [dict(row) for row in self.connection.execute(statement).mappings()]


_STAGES: tuple[Callable[[_Export, Place], Step], ...] = (
    _Export.head,
    _Export.execution,
    _Export.blobs,
    _Export.entries,
    _Export.log,
    _Export.events,
    _Export.end,
)
_EVENTS = _STAGES.index(_Export.events)
