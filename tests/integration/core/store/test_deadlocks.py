"""Transactions that lock several rows do so in one order; one that meets another all the same is repeated."""

import threading
from collections.abc import Callable, Iterator, Sequence
from uuid import UUID

import pytest
from sqlalchemy import Connection, text

from relay_core.domain.agents.executors import ExecutorChoice
from relay_core.domain.errors import NotFound
from relay_core.domain.execution import failed
from relay_core.domain.limits import Limits
from relay_core.domain.vocabulary import Reason, Scope
from relay_core.settings import Settings
from relay_core.store import transaction
from relay_core.store.database import make_database
from relay_core.store.executions import leases
from relay_core.store.executions.claim import Claimant, Claimed, claim
from relay_core.store.executions.finish import finish
from relay_core.store.nodes import runtime_nodes
from relay_core.store.projects import clones, projects
from relay_core.store.tokens import Principal
from relay_core.store.transaction import Database
from relay_core.store.workspaces.delete import delete_workspaces
from relay_core.store.workspaces.submit import RepoInput, RunInput, submit_run
from tests.support.published import Published
from tests.support.waiting import eventually

ANN = Principal("ann", frozenset({Scope.WRITE}))
URLS = [f"https://example.org/{name}.git" for name in "abcd"]
WORKER = Claimant("w1", "node-1", "default", 30)


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    database = Database(make_database(Settings(database_url=database_url)), Published())
    with database.begin() as connection:
        runtime_nodes.heartbeat(connection, "node-1", pool="default", client_version="0", capabilities={})
    yield database
    database.dispose()


@pytest.fixture
def once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A deadlock fails the test, where it would be repeated."""
    monkeypatch.setattr(transaction, "TRIES", 1)


def _run(urls: Sequence[str], project_id: UUID | None = None) -> RunInput:
    repos = [RepoInput(url) for url in urls]
    return RunInput(repos, "go", ExecutorChoice("shell", "true"), Limits(), project_id=project_id)


def _beside_each_other(*works: Callable[[], None]) -> None:
    errors: list[Exception] = []

    def guarded(work: Callable[[], None]) -> None:
        try:
            work()
        except Exception as error:  # noqa: BLE001 - raised below
            errors.append(error)

    threads = [threading.Thread(target=guarded, args=(work,)) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]


@pytest.mark.usefixtures("once")
@pytest.mark.parametrize("in_a_project", [False, True])
def test_runs_of_the_same_repos_in_another_order_never_lock_each_other_out(
    database: Database, in_a_project: bool
) -> None:
    project_id = None
    if in_a_project:
        with database.begin() as connection:
            project_id = projects.create(connection, projects.ProjectInput("p"), ANN)

    def submit(urls: Sequence[str]) -> Callable[[], None]:
        def work() -> None:
            for _ in range(15):
                with database.begin() as connection:
                    submit_run(connection, _run(urls, project_id), ANN, Settings())

        return work

    _beside_each_other(submit(URLS), submit(URLS[::-1]), submit(URLS[1:] + URLS[:1]), submit(URLS[2:] + URLS[:2]))


def _running(database: Database, project_id: UUID, count: int) -> list[UUID]:
    ids = []
    for _ in range(count):
        with database.begin() as connection:
            made = submit_run(connection, _run(URLS[:1], project_id), ANN, Settings())
        with database.begin() as connection:
            assert isinstance(claim(connection, made.execution_id, 1, WORKER), Claimed)
        ids.append(made.execution_id)
    return ids


@pytest.mark.usefixtures("once")
def test_deleting_a_project_and_renewing_its_leases_do_not_meet(database: Database) -> None:
    for _ in range(2):
        with database.begin() as connection:
            project_id = projects.create(connection, projects.ProjectInput("p"), ANN)
        ids = _running(database, project_id, 25)
        deleted = threading.Event()

        def renew(ids: list[UUID] = ids, deleted: threading.Event = deleted) -> None:
            while not deleted.is_set():
                with database.begin() as connection:
                    leases.renew(connection, WORKER.owner, WORKER.node_id, 30)
                    assert len(leases.still_owned(connection, WORKER.owner, ids[::-1])) == len(ids)

        def delete(project_id: UUID = project_id, deleted: threading.Event = deleted) -> None:
            try:
                assert projects.delete(database, project_id, ANN) == 25
            finally:
                deleted.set()

        _beside_each_other(renew, delete)


@pytest.mark.usefixtures("once")
def test_deleting_a_project_waits_for_the_end_of_its_clone_without_a_deadlock(database: Database) -> None:
    wanted = projects.ProjectInput("p", repos=[projects.ProjectRepoInput(URLS[0])])
    with database.begin() as connection:
        project_id = projects.create(connection, wanted, ANN)
        execution_id = clones.start_clone(connection, project_id, "default", "ann")
    with database.begin() as connection:
        claimed = claim(connection, execution_id, 1, WORKER)
        assert isinstance(claimed, Claimed)
    deleted: list[int] = []
    delete = threading.Thread(target=lambda: deleted.append(projects.delete(database, project_id, ANN)))
    with database.begin() as connection:
        connection.execute(text("SELECT 1 FROM execution_processes WHERE id = :id FOR UPDATE"), {"id": execution_id})
        delete.start()
        eventually(lambda: _waiting_for_locks(database) == 1)
        finish(connection, execution_id, claimed.fence, failed(Reason.CLONE_FAILED, "the remote is gone"))
    delete.join(20)
    assert deleted == [0]


def _waiting_for_locks(database: Database) -> int:
    waits = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
    with database.connect() as connection:
        return int(connection.scalar(text(waits)) or 0)


def test_a_deletion_that_was_interrupted_goes_on_when_it_is_asked_for_again(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    with database.begin() as connection:
        project_id = projects.create(connection, projects.ProjectInput("p"), ANN)
    _running(database, project_id, 3)
    monkeypatch.setattr(projects, "WORKSPACES_AT_ONCE", 1)
    done = []

    def dies(connection: Connection, ids: Sequence[UUID], by: str) -> int:
        if done:
            raise ConnectionResetError
        done.append(ids)
        return delete_workspaces(connection, ids, by)

    with monkeypatch.context() as patch:
        patch.setattr(projects, "delete_workspaces", dies)
        with pytest.raises(ConnectionResetError):
            projects.delete(database, project_id, ANN)
    assert projects.delete(database, project_id, ANN) == 2
    assert len(database.publisher.task_ids) == 3, "each transaction tells its workers after its commit"
    with pytest.raises(NotFound):
        projects.delete(database, project_id, ANN)


def test_a_transaction_that_met_another_one_is_repeated(database: Database) -> None:
    with database.begin() as connection:
        for name in ("one", "two"):
            connection.execute(
                text("INSERT INTO idempotency_keys (owner, key, request_hash) VALUES ('ann', :key, '')"), {"key": name}
            )
    both_hold_one = threading.Barrier(2)
    tries: list[str] = []

    def cross(first: str, second: str) -> Callable[[], None]:
        def work(connection: Connection) -> None:
            tries.append(first)
            update = text("UPDATE idempotency_keys SET status = coalesce(status, 0) + 1 WHERE key = :key")
            connection.execute(update, {"key": first})
            if tries.count(first) == 1:
                both_hold_one.wait(10)
            connection.execute(update, {"key": second})

        return lambda: database.transact(work)

    _beside_each_other(cross("one", "two"), cross("two", "one"))
    assert len(tries) == 3
    with database.connect() as connection:
        counts = connection.scalars(text("SELECT status FROM idempotency_keys ORDER BY key")).all()
    assert list(counts) == [2, 2]
