"""Operations that a node that never returns has left undone end with the reason; a node that returns is believed."""

from typing import Any
from uuid import UUID

from sqlalchemy import func, select, text

from relay_core.domain.agents.executors import ExecutorChoice
from relay_core.domain.events import EventKind
from relay_core.domain.limits import Limits
from relay_core.domain.operations import OperationKind, SubjectKind
from relay_core.settings import Settings
from relay_core.store import operations
from relay_core.store.executions.claim import Claimed
from relay_core.store.nodes import gone, runtime_nodes
from relay_core.store.operations import Subject
from relay_core.store.schema.tables import Event, Operation
from relay_core.store.transaction import Database
from relay_core.store.workspaces.delete import delete_workspaces
from relay_core.store.workspaces.removal import note_removal
from relay_core.store.workspaces.submit import RepoInput, RunInput, submit_run
from tests.support.store_acts import ME, WORKER, claim, finish

DAY = 86400.0


def deleted(db: Database) -> UUID:
    """A deleted workspace whose files are on node-1."""
    run = RunInput((RepoInput("https://example.org/a.git"),), "do it", ExecutorChoice("shell", "true"), Limits())
    with db.begin() as connection:
        made = submit_run(connection, run, ME, Settings())
    claimed = claim(db, made.execution_id)
    assert isinstance(claimed, Claimed)
    finish(db, claimed)
    with db.begin() as connection:
        connection.execute(text("UPDATE workspaces SET container_ref = '/w', state = 'running'"))
        delete_workspaces(connection, [made.workspace_id], "someone")
    return made.workspace_id


def orphan(db: Database, container: str) -> None:
    with db.begin() as connection:
        found = operations.begin(connection, OperationKind.ORPHAN, Subject(SubjectKind.CONTAINER, container))
        assert found is not None
        operations.append(connection, found, EventKind.ORPHAN_FOUND, {"node_id": WORKER.node_id})


def silent(db: Database, days: float, liveness: str = "offline") -> None:
    with db.begin() as connection:
        connection.execute(
            text(
                "UPDATE runtime_nodes SET liveness = :liveness, last_heartbeat_at = now() - make_interval(secs => :s)"
            ),
            {"liveness": liveness, "s": days * DAY},
        )


def give_up(db: Database) -> int:
    with db.begin() as connection:
        return gone.give_up(connection, 7 * DAY)


def events_of(db: Database, kind: OperationKind) -> list[tuple[str, dict[str, Any]]]:
    statement = select(Event.kind, Event.payload).join(Operation, Operation.id == Event.operation_id)
    with db.connect() as connection:
        rows = connection.execute(statement.where(Operation.kind == kind).order_by(Event.sequence))
        return [(row.kind, row.payload) for row in rows]


def still_open(db: Database) -> int:
    wanted = Operation.kind.in_([OperationKind.WORKSPACE_DELETE, OperationKind.ORPHAN])
    with db.connect() as connection:
        count = select(func.count()).select_from(Operation).where(wanted, Operation.completed_at.is_(None))
        return connection.scalar(count) or 0


def test_what_a_gone_node_has_not_removed_ends_with_that_reason(db: Database) -> None:
    deleted(db)
    orphan(db, "c0ffee")
    silent(db, 6.9)
    assert (give_up(db), still_open(db)) == (0, 2), "it may return"
    silent(db, 8, "degraded")
    assert (give_up(db), still_open(db)) == (0, 2), "nothing has found it offline"
    silent(db, 8)
    assert (give_up(db), still_open(db)) == (2, 0)
    assert give_up(db) == 0
    said = {"node_id": WORKER.node_id, "reason": "node_lost"}
    assert events_of(db, OperationKind.WORKSPACE_DELETE)[1:] == [("workspace.not_removed", said)]
    assert events_of(db, OperationKind.ORPHAN)[1:] == [("orphan.not_removed", said)]


def test_a_node_that_returns_after_all_says_what_it_removes(db: Database) -> None:
    workspace = deleted(db)
    silent(db, 8)
    assert give_up(db) == 1
    with db.begin() as connection:
        runtime_nodes.heartbeat(connection, WORKER.node_id, pool="default", client_version="1")
        note_removal(connection, workspace, WORKER.node_id)
    with db.connect() as connection:
        kinds = list(connection.scalars(select(Event.kind).where(Event.workspace_id == workspace).order_by(Event.id)))
    assert kinds[-2:] == ["workspace.not_removed", "workspace.removed"]
    orphan(db, "c0ffee")
    assert still_open(db) == 1
