"""Import of a workspace from its parts, in one transaction: rows, logs, recorded git states.

An imported workspace is archived and on no node. Its executions are history: they have ended, no worker ever owned them
here (their fence is 0), and nothing of them is claimed, dispatched or counted as work of this Relay.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import structlog
from sqlalchemy import Connection, func, insert, update
from sqlalchemy.exc import DataError, IntegrityError

from relay_core.domain.errors import InvalidInput, RelayError
from relay_core.domain.events import EventKind
from relay_core.domain.message import task_id
from relay_core.domain.operations import OperationKind, SubjectKind
from relay_core.domain.transfer import FORMAT, EntityType, id_there
from relay_core.domain.vocabulary import MergeKind, RunStatus, WorkspaceState
from relay_core.settings import Settings
from relay_core.store import operations
from relay_core.store.executions.create import FIRST_ATTEMPT
from relay_core.store.projects import repos, task_changes
from relay_core.store.schema.tables import (
    CodingAgentTurn,
    ConversationEntry,
    Event,
    ExecutionProcess,
    ExecutionProcessRepoState,
    Lane,
    LogStream,
    Merge,
    Operation,
    Run,
    Session,
    Workspace,
    WorkspaceRepo,
    WorkspaceSecret,
)
from relay_core.store.tokens import Principal
from relay_core.store.transfer import checks, imported_links, parts
from relay_core.store.transfer.codec import MOST_BYTES, Record, damaged, decompressed, records_of
from relay_core.store.transfer.columns import BLOBS, checked
from relay_core.store.transfer.imported_links import Place
from relay_core.store.transfer.imported_logs import ImportedLog
from relay_core.store.transfer.imports import Imported, Origin, once

E, State = ExecutionProcess, ExecutionProcessRepoState
log = structlog.get_logger(__name__)
MOST_IMPORT_BYTES = 8 << 30
"""Most bytes of all parts of one import after decompression."""
MOST_PATCH_BYTES = 64 << 20
"""Most bytes of one imported patch after decompression."""
MOST_PACKED_BYTES = 16 << 20
"""Most bytes of one imported patch before decompression."""
_ENDS = ("status", "conclusion", "deciding_execution_id", "completed_at", "rerun_of")
"""Columns of a run that name executions or another run, or are checked together with them; they are written last."""


@dataclass(frozen=True)
class WantedWorkspace:
    """A workspace to import.

    Attributes:
        task_id: its task, which is here.
        parts: SHA-256 of its parts, in order.
    """

    task_id: UUID
    parts: Sequence[str]


def import_workspace(
    connection: Connection, origin: Origin, wanted: WantedWorkspace, principal: Principal, settings: Settings
) -> Imported:
    """Import a workspace from parts that were uploaded, and delete those.

    Args:
        connection: one transaction of `Database`.
        origin: where it comes from.
        wanted: the workspace.
        principal: owner of all that is imported.
        settings: settings of this server, which bound what a workspace may ask for.

    Raises:
        NotFound: there is no such task, or it belongs to another owner.
        InvalidInput: `import_damaged`, or the workspace cannot be used here as it is.
        Conflict: `import_parts_missing`, `import_deleted`.
    """

    def make(free: UUID) -> UUID:
        held = task_changes.hold(connection, wanted.task_id, principal)
        place = Place(free, held.id, held.project_id, origin, principal, settings)
        reader = _Import(connection, place)
        _read(reader, (parts.content(connection, sha256, principal.owner) for sha256 in wanted.parts))
        return free

    try:
        imported = once(connection, EntityType.WORKSPACE, origin, principal.owner, make)
    except (IntegrityError, DataError) as error:
        log.info("an import is refused by the database", error=str(error).splitlines()[0])
        raise damaged("its rows do not fit together") from error
    parts.remove(connection, wanted.parts, principal.owner)
    return imported


def _read(reader: "_Import", contents: Iterator[bytes]) -> None:
    size = 0
    try:
        for content in contents:
            plain = decompressed(content, MOST_BYTES)
            size += len(plain)
            if size > MOST_IMPORT_BYTES:  # a part may be named many times
                message = f"the parts have more than {MOST_IMPORT_BYTES} bytes; a larger workspace is not imported"
                raise InvalidInput(message, code="import_too_large")
            for record in records_of(plain):
                reader.take(record)
        reader.finish()
    except RelayError:
        raise
    except KeyError as error:
        raise damaged(f"a row has no {error}") from error
    except (TypeError, ValueError, AttributeError, OverflowError, RecursionError) as error:
        log.info("an import has a value of another type", error=repr(error)[:200])
        raise damaged("a value has another type than it should have") from error


@dataclass
class _Blob:
    """Bytes of one column of one recorded state, so far; of a bundle that is too large here only their number."""

    about: tuple[UUID, UUID, str]
    data: bytearray
    size: int = 0


class _Import:
    """Takes the records of a workspace in their order, and writes them."""

    def __init__(self, connection: Connection, place: Place) -> None:
        self._connection = connection
        self._place = place
        self._owner = place.principal.owner
        self._head: Mapping[str, Any] | None = None
        self._ids: dict[str, str] = {}
        self._names: list[str] = []
        self._log: ImportedLog | None = None
        self._blob: _Blob | None = None
        self._executions = 0
        self._event_seq = 0
        self._ended = False

    def take(self, record: Record) -> None:
        """Write one record.

        Raises:
            InvalidInput: `import_damaged`: it does not belong here.
        """
        handler = _HANDLERS.get(record.kind)
        if handler is None or self._ended or (self._head is None) != (record.kind == "head"):
            raise damaged(f"a record {record.kind!r} is where it does not belong")
        if record.kind != "blob":
            self._end_blob()
        handler(self, record)

    def head(self, record: Record) -> None:
        fields = record.fields
        if fields["format"] != FORMAT or fields["workspace_id"] != str(self._place.origin.source_id):
            raise damaged("it is of another workspace or format")
        self._head = fields
        self._know(fields)
        settings = self._place.settings
        rows = [checks.repo(checked(WorkspaceRepo, row, self._ids), settings) for row in fields["repos"]]
        self._names = [row["name"] for row in rows]
        self._workspace(checks.workspace(checked(Workspace, fields["workspace"], {}), self._names, settings))
        for row in rows:
            self._insert(WorkspaceRepo, row, workspace_id=self._place.workspace_id)
        for named in checks.secrets([checked(WorkspaceSecret, row, {}) for row in fields["secrets"]]):
            self._insert(WorkspaceSecret, named, workspace_id=self._place.workspace_id)
        for row in fields["sessions"]:
            values = checks.session(checked(Session, row, self._ids))
            self._insert(Session, values, workspace_id=self._place.workspace_id)
        for row in fields["operations"]:
            self._operation(checked(Operation, row, self._ids))
        for row in fields["runs"]:
            self._run(checks.run(checked(Run, row, self._ids)))

    def execution(self, record: Record) -> None:
        self._end_log()
        fields = record.fields
        values = checks.execution(checked(E, fields["execution"], self._ids), self._names)
        execution_id: UUID = values["id"]
        self._insert(
            E,
            values,
            workspace_id=self._place.workspace_id,
            created_by=self._owner,
            attempt=FIRST_ATTEMPT,
            task_id=UUID(task_id(execution_id, FIRST_ATTEMPT)),
        )
        self._executions += 1
        for row in fields["states"]:
            self._insert(State, checks.state(checked(State, row, self._ids)), execution_process_id=execution_id)
        if fields["turn"] is not None:
            turn = checks.turn(checked(CodingAgentTurn, fields["turn"], self._ids))
            self._insert(CodingAgentTurn, turn, execution_process_id=execution_id)
        streams = [checked(LogStream, row, {}) for row in fields["streams"]]
        self._log = ImportedLog(self._connection, execution_id, streams, self._place.settings.max_log_bytes)

    def blob(self, record: Record) -> None:
        execution_id, repo_id = (UUID(self._ids[record.fields[name]]) for name in ("execution_id", "repo_id"))
        column = record.fields["column"]
        if column not in BLOBS:
            raise damaged("bytes are of no column")
        about = (execution_id, repo_id, column)
        if self._blob is not None and self._blob.about != about:
            self._end_blob()
        blob = self._blob = self._blob or _Blob(about, bytearray())
        blob.size += len(record.data)
        if column != "bundle" and blob.size > MOST_PACKED_BYTES:
            raise damaged("a patch is too large")
        if column != "bundle" or blob.size <= self._place.settings.bundle_max_bytes:
            blob.data.extend(record.data)
        else:
            blob.data.clear()

    def entry(self, record: Record) -> None:
        values = checks.entry(checked(ConversationEntry, record.fields["entry"], self._ids))
        self._insert(ConversationEntry, values, execution_id=self._ids[record.fields["execution_id"]])

    def log(self, record: Record) -> None:
        if self._log is None:
            raise damaged("a piece of a log is of no execution")
        self._log.add(record.fields["stream"], record.data)

    def event(self, record: Record) -> None:
        self._end_log()
        values = checks.event(checked(Event, record.fields["event"], self._ids))
        if "operation_id" not in values:  # of an operation that had not ended
            values |= {"terminal": False}
            values.pop("sequence", None)
        self._insert(Event, values, workspace_id=self._place.workspace_id)
        self._event_seq = max(self._event_seq, values["workspace_seq"])

    def end(self, record: Record) -> None:
        self._end_log()
        head = self._head or {}
        complete = record.fields["executions"] == self._executions == len(head["executions"])
        if not complete or record.fields["event_seq"] != head["event_seq"]:
            message = "the workspace changed in the source while it was copied; migrate it again"
            raise InvalidInput(message, code="import_changed")
        self._ended = True

    def finish(self) -> None:
        """Write what refers to rows of several records.

        Raises:
            InvalidInput: `import_damaged`: the end is missing.
        """
        if not self._ended or self._head is None:
            raise damaged("its end is missing")
        connection, workspace_id = self._connection, self._place.workspace_id
        for row in self._head["runs"]:
            values = checked(Run, row, self._ids)
            ends = {name: values[name] for name in _ENDS if name in values}
            connection.execute(update(Run).where(Run.id == values["id"]).values(ends))
        for row in self._head["merges"]:
            values = checked(Merge, row, self._ids)
            more = {"workspace_id": workspace_id, "kind": MergeKind.DIRECT, "created_by": self._owner}
            self._insert(Merge, values, **more)
        subtasks = [UUID(text) for text in self._head["subtasks"]]
        imported_links.make_subtasks(connection, self._place, subtasks)
        imported_links.note_states_to_restore(connection, workspace_id)
        mine = update(Workspace).where(Workspace.id == workspace_id)
        connection.execute(mine.values(event_seq=self._event_seq, updated_at=func.now()))
        payload = {
            "origin_id": str(self._place.origin.id),
            "source_id": str(self._place.origin.source_id),
            "count": self._executions,
            "by": self._owner,
        }
        subject = operations.of_workspace(workspace_id)
        operations.record(connection, OperationKind.WORKSPACE_CREATE, subject, EventKind.WORKSPACE_IMPORTED, payload)

    def _know(self, head: Mapping[str, Any]) -> None:
        """Note which ids of the source have which ids here."""
        below = [row["id"] for name in ("sessions", "runs", "operations", "merges") for row in head[name]]
        for text in (*below, *head["executions"], *head["other_merges"]):
            self._know_one(text)
        place = self._place
        self._ids[str(place.origin.source_id)] = str(place.workspace_id)
        settings = place.settings
        urls = {row["repo_id"]: checks.url(row["url"], settings) for row in head["repos"]}
        known = repos.ensure(self._connection, urls.values(), self._owner)
        repos.link(self._connection, place.project_id, list(known.values()))
        self._ids |= {repo_id: str(known[url]) for repo_id, url in urls.items()}

    def _know_one(self, text: str) -> None:
        try:
            self._ids[text] = str(id_there(self._place.workspace_id, UUID(text)))
        except (ValueError, TypeError, AttributeError) as error:
            raise damaged("an id is none") from error

    def _workspace(self, values: dict[str, Any]) -> None:
        place = self._place
        more = {
            "id": place.workspace_id,
            "task_id": place.task_id,
            "archived": True,
            "state": WorkspaceState.STOPPED,
            "pool": place.settings.pool,
            "imported_from": place.origin.id,
            "created_by": self._owner,
        }
        self._insert(Workspace, values, **more)
        self._connection.execute(insert(Lane).values(workspace_id=place.workspace_id))

    def _operation(self, values: dict[str, Any]) -> None:
        workspace_id = self._place.workspace_id
        about = {"subject_kind": SubjectKind.WORKSPACE, "subject_id": str(workspace_id), "workspace_id": workspace_id}
        self._insert(Operation, values, **about)

    def _run(self, values: dict[str, Any]) -> None:
        begun = {name: value for name, value in values.items() if name not in _ENDS}
        more = {
            "workspace_id": self._place.workspace_id,
            "project_id": self._place.project_id,
            "owner": self._owner,
            "created_by": self._owner,
            "status": RunStatus.QUEUED,
        }
        self._insert(Run, begun, **more)

    def _end_blob(self) -> None:
        blob, self._blob = self._blob, None
        if blob is None:
            return
        execution_id, repo_id, column = blob.about
        values: dict[str, Any] = {column: bytes(blob.data)}
        most = self._place.settings.bundle_max_bytes
        if column != "bundle":
            decompressed(bytes(blob.data), MOST_PATCH_BYTES)
        elif blob.size > most:
            why = f"the bundle has {blob.size} bytes; this server takes {most} (RELAY_BUNDLE_MAX_BYTES)"
            values = {"bundle_problem": why}
        mine = (State.execution_process_id == execution_id) & (State.repo_id == repo_id)
        if self._connection.execute(update(State).where(mine).values(values)).rowcount != 1:
            raise damaged("bytes are of no recorded state")

    def _end_log(self) -> None:
        if self._log is not None:
            self._log.end()
            self._log = None

    def _insert(self, table: Any, values: Mapping[str, Any], **more: Any) -> None:
        self._connection.execute(insert(table.__table__).values({**values, **more}))


_HANDLERS: Mapping[str, Callable[[_Import, Record], None]] = {
    "head": _Import.head,
    "execution": _Import.execution,
    "blob": _Import.blob,
    "entry": _Import.entry,
    "log": _Import.log,
    "event": _Import.event,
    "end": _Import.end,
}
