"""The groups of waiting runs: found by an index however many wait, and right when a workspace gets a node or loses it."""

import pytest
from sqlalchemy import event, func, select, text, update

from relay_core.domain import nodes
from relay_core.domain.admission import LimitKind
from relay_core.domain.agents.executors import ExecutorChoice
from relay_core.domain.limits import Limits
from relay_core.domain.vocabulary import Priority, Scope
from relay_core.settings import Settings
from relay_core.store.admission import admit, facts, run_limits
from relay_core.store.executions.claim import Claimed
from relay_core.store.nodes import runtime_nodes
from relay_core.store.projects import projects
from relay_core.store.schema.tables import Run, Workspace
from relay_core.store.tokens import Principal
from relay_core.store.transaction import Database
from relay_core.store.workspaces.submit import RepoInput, RunInput, SubmittedRun, submit_run
from tests.support.store_acts import ME, claim

REPO = RepoInput("https://example.org/a.git")
ANN, BOB = (Principal(name, frozenset({Scope.WRITE})) for name in ("ann", "bob"))


def submit(db: Database, by: Principal = ME, **more) -> SubmittedRun:
    run = RunInput((REPO,), "do it", ExecutorChoice("shell", "true"), Limits(), **more)
    with db.begin() as connection:
        return submit_run(connection, run, by, Settings())


def limit(db: Database, name: str, most: int) -> None:
    with db.begin() as connection:
        run_limits.put(connection, LimitKind.OWNER, name, most)


def sweep(db: Database) -> list:
    with db.begin() as connection:
        return [message.execution_id for message in admit.sweep(connection)]


@pytest.mark.parametrize("many", [0, 1000])
def test_runs_for_a_full_node_hold_back_none_for_another_node(db: Database, monkeypatch, many: int) -> None:
    monkeypatch.setattr(facts, "MOST_OF_A_GROUP", 1)
    monkeypatch.setattr(facts, "MANY", many)
    limit(db, ME.owner, 0)
    runs = [submit(db) for _ in range(3)]
    with db.begin() as connection:
        runtime_nodes.register(connection, "node-1", "default", nodes.Capacity(0, None))
        for run, node in zip(runs, ("node-1", "node-1", "node-2"), strict=True):
            connection.execute(update(Workspace).where(Workspace.id == run.workspace_id).values(node_id=node))
    with db.begin() as connection:
        run_limits.remove(connection, LimitKind.OWNER, ME.owner)
    assert [message.execution_id for message in db.publisher.take()] == [runs[2].execution_id]


def test_however_many_runs_wait_the_oldest_of_each_group_are_found_by_the_index(db: Database, monkeypatch) -> None:
    limit(db, ANN.owner, 0)
    limit(db, BOB.owner, 0)
    with db.begin() as connection:
        shop = projects.create(connection, projects.ProjectInput("shop"), ANN)
    for number in range(12):
        submit(db, (ANN, BOB)[number % 2], priority=list(Priority)[number % 3], needs=["gpu"] if number > 8 else [])
        submit(db, ANN, project_id=shop)
    monkeypatch.setattr(facts, "MOST_OF_A_GROUP", 2)
    with db.connect() as connection:
        all_of_them = facts.waiting(connection)
        monkeypatch.setattr(facts, "MANY", 3)
        by_index = facts.waiting(connection)
    assert 10 < len(by_index) < 24
    assert {run.id for run in by_index} == {run.id for run in all_of_them}
    assert sorted(by_index, key=lambda run: run.id) == sorted(all_of_them, key=lambda run: run.id)


def groups(db: Database) -> list[tuple[str, str]]:
    """The group of each run in the index, and the one that it should have."""
    right = func.concat_ws(" ", Workspace.pool, func.array_to_string(Workspace.needs, ","), Workspace.node_id)
    statement = select(Run.admission_group, right).join(Workspace, Workspace.id == Run.workspace_id)
    with db.connect() as connection:
        return [(row[0], row[1]) for row in connection.execute(statement.order_by(Run.created_at))]


def test_the_group_of_a_waiting_run_follows_the_node_of_its_workspace(db: Database) -> None:
    limit(db, ME.owner, 1)
    first, second = submit(db), submit(db)
    assert isinstance(claim(db, first.execution_id), Claimed)
    with db.begin() as connection:
        connection.execute(update(Workspace).where(Workspace.id == second.workspace_id).values(node_id="node-2"))
        connection.execute(update(Run).where(Run.id == first.run_id).values(admitted_at=None))
    assert groups(db) == [("default  node-1",) * 2, ("default  node-2",) * 2]
    with db.begin() as connection:
        connection.execute(update(Workspace).where(Workspace.id == second.workspace_id).values(node_id=None))
    assert groups(db)[1] == ("default ", "default ")


def test_the_sweep_reads_the_oldest_runs_of_each_group_only(db: Database, monkeypatch) -> None:
    limit(db, ME.owner, 0)
    runs = [submit(db) for _ in range(5)]
    monkeypatch.setattr(facts, "MANY", 3)
    monkeypatch.setattr(facts, "MOST_OF_A_GROUP", 2)
    with db.engine.begin() as connection:
        connection.execute(text("UPDATE run_limits SET max_runs = 3"))
    asked: list[str] = []
    event.listen(db.engine, "before_cursor_execute", lambda *values: asked.append(values[2]))
    assert sweep(db) == [run.execution_id for run in runs[:2]]
    assert [statement for statement in asked if "oldest_waiting_runs" in statement]
    assert not [statement for statement in asked if "PARTITION BY pool" in statement]
    assert sweep(db) == [runs[2].execution_id]
    assert not sweep(db)
