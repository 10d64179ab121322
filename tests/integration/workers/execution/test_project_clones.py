"""Clones of projects: executions without a workspace, and the state of the project that follows from its mirrors."""

import threading
from collections.abc import Iterator
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import func, select, update
from sqlalchemy.exc import IntegrityError

from relay_core.domain.agents.executors import ExecutorChoice
from relay_core.domain.errors import Conflict, InvalidInput, NotFound, StepFailed
from relay_core.domain.limits import Limits
from relay_core.domain.message import QueueMessage
from relay_core.domain.vocabulary import ACTIVE, Reason, RunReason, Scope
from relay_core.store.executions import messages, reap
from relay_core.store.executions.kill import kill
from relay_core.store.executions.retry import retry_execution
from relay_core.store.projects import clones, mirrors, projects, state
from relay_core.store.projects.projects import ProjectInput, ProjectRepoInput
from relay_core.store.schema.tables import Event, ExecutionProcess, Mirror, Operation, Workspace
from relay_core.store.tokens import Principal
from relay_core.store.workspaces.on_project import NewWorkspace, create_on_project
from relay_core.store.workspaces.submit import RepoInput, RunInput, submit_run
from tests.support.fake_node import ME, FakeNode

pytest_plugins = ["tests.support.fake_node"]

BOB = Principal("bob", frozenset({Scope.WRITE}))


@pytest.fixture(scope="module")
def node(fake_node: FakeNode) -> FakeNode:
    return fake_node


@pytest.fixture(autouse=True)
def no_clone_left(node: FakeNode) -> Iterator[None]:
    """A clone that a test has left queued or running takes the place of another one."""
    yield
    active = select(ExecutionProcess.id).where(ExecutionProcess.status.in_(ACTIVE))
    with node.database.connect() as connection:
        left = connection.scalars(active.where(ExecutionProcess.project_id.is_not(None))).all()
    with node.database.begin() as connection:
        for one in left:
            kill(connection, [one], "the test")


def remote(node: FakeNode) -> str:
    url = f"{node.url}-{uuid4().hex[:8]}"
    node.git.add_remote(url, "main", {"README": b"hello\n"})
    return url


def make(node: FakeNode, *urls: str) -> tuple[UUID, UUID]:
    """A project as `POST /v1/projects` makes it, and its clone."""
    wanted = ProjectInput(f"p-{uuid4().hex[:8]}", repos=[ProjectRepoInput(url) for url in urls])
    with node.database.begin() as connection:
        project_id = projects.create(connection, wanted, ME)
        return project_id, clones.start_clone(connection, project_id, "default", ME.owner)


def shown(node: FakeNode, project_id: UUID) -> dict[str, Any]:
    with node.database.connect() as connection:
        return projects.get(connection, project_id, ME)


def states(node: FakeNode, project_id: UUID) -> list[tuple[str, str | None]]:
    """The states that were told as events."""
    told = select(Event.payload).where(Event.project_id == project_id, Event.kind == "project.state_changed")
    with node.database.connect() as connection:
        found = connection.scalars(told.order_by(Event.id))
        return [(payload["state"], payload["clone_error"]) for payload in found]


def count(node: FakeNode, table: Any) -> int:
    with node.database.connect() as connection:
        return connection.scalar(select(func.count()).select_from(table)) or 0


def on(node: FakeNode, project_id: UUID, who: Principal = ME) -> UUID:
    with node.database.begin() as connection:
        return create_on_project(connection, NewWorkspace(project_id, Limits()), who, node.settings)


@pytest.mark.proves("T000-01")
def test_a_project_is_cloned_without_a_workspace(node: FakeNode) -> None:
    """T000-01."""
    workspaces = count(node, Workspace)
    first, second = sorted([remote(node), remote(node)])
    project_id, clone = make(node, first, second)
    assert shown(node, project_id)["state"] == "cloning"
    sent: list[QueueMessage] = node.database.publisher.take()
    assert [(message.execution_id, message.queue) for message in sent] == [(clone, "pool.default")]
    told = sent[0].description
    assert told is not None
    assert told.shown() == {"title": shown(node, project_id)["name"], "repository": f"{first}, {second}"}

    node.workers[0].run(clone)

    row = node.row(clone)
    assert (row["status"], row["run_reason"], row["exit_code"]) == ("completed", "clone", 0)
    assert (row["workspace_id"], row["session_id"], row["run_id"]) == (None, None, None)
    project = shown(node, project_id)
    assert (project["state"], project["clone_error"]) == ("ready", None)
    assert [repo["state"] for repo in project["repos"]] == ["ready", "ready"]
    assert states(node, project_id) == [("ready", None)]
    assert count(node, Workspace) == workspaces
    assert node.events(clone) == [
        ("execution.queued", False),
        ("execution.started", False),
        ("execution.completed", True),
    ]
    log = node.log(clone).decode()
    assert f"cloning {first}" in log
    assert f"cloning {second}" in log


@pytest.mark.proves("T000-02")
def test_an_unreachable_remote_fails_the_project_and_a_repeated_clone_mends_it(node: FakeNode) -> None:
    """T000-02."""
    good, gone = remote(node), f"{node.url}-{uuid4().hex[:8]}"
    project_id, clone = make(node, good, gone)
    node.workers[0].run(clone)

    assert (node.row(clone)["status"], node.row(clone)["reason"]) == ("failed", "clone_failed")
    project = shown(node, project_id)
    assert project["state"] == "failed"
    assert project["clone_error"] == f"{gone} is no repository"
    assert {repo["url"]: repo["state"] for repo in project["repos"]} == {good: "ready", gone: "failed"}

    node.git.add_remote(gone, "main", {"README": b"hello\n"})
    with node.database.begin() as connection:
        again = retry_execution(connection, clone, ME.owner, run_agent_again=False)
    assert node.row(again)["retry_of"] == clone
    assert shown(node, project_id)["state"] == "cloning"
    with node.database.begin() as connection, pytest.raises(Conflict) as twice:
        clones.start_clone(connection, project_id, "default", ME.owner)
    assert twice.value.code == "project_cloning"
    node.workers[0].run(again)
    error = f"{gone} is no repository"
    assert states(node, project_id) == [("failed", error), ("cloning", None), ("ready", None)]


@pytest.mark.proves("T000-04")
def test_no_workspace_is_made_on_a_project_that_is_cloning_or_failed(node: FakeNode) -> None:
    """T000-04; a run clones by itself and is never refused."""
    url = f"{node.url}-{uuid4().hex[:8]}"
    project_id, clone = make(node, url)
    before = count(node, Workspace)
    for expected in ("cloning", "failed"):
        with pytest.raises(Conflict, match=expected) as refused:
            on(node, project_id)
        assert refused.value.code == "project_not_ready"
        node.workers[0].run(clone)
    assert count(node, Workspace) == before
    run = RunInput((RepoInput(url),), "go", ExecutorChoice("shell", "true"), Limits(), project_id=project_id)
    with node.database.begin() as connection:
        assert submit_run(connection, run, ME, node.settings).project_id == project_id


def test_a_workspace_without_an_executor_reaches_running(node: FakeNode) -> None:
    project_id, clone = make(node, remote(node))
    node.workers[0].run(clone)
    workspace_id = on(node, project_id)
    prepared = node.newest(workspace_id, RunReason.CLONE)
    node.workers[0].run(prepared["id"])

    with node.database.connect() as connection:
        row = connection.execute(select(Workspace.state, Workspace.error_reason).where(Workspace.id == workspace_id))
        assert row.one() == ("running", None)
        reasons = select(ExecutionProcess.run_reason).where(ExecutionProcess.workspace_id == workspace_id)
        assert connection.scalars(reasons).all() == ["clone"]
    assert node.row(prepared["id"])["status"] == "completed"


def test_a_workspace_needs_a_project_of_its_owner_with_a_repository(node: FakeNode) -> None:
    project_id, clone = make(node, remote(node))
    node.workers[0].run(clone)
    with pytest.raises(NotFound):
        on(node, project_id, BOB)
    with node.database.begin() as connection:
        empty = projects.create(connection, ProjectInput(f"p-{uuid4().hex[:8]}"), ME)
    assert shown(node, empty)["state"] == "ready"
    with pytest.raises(InvalidInput, match="no repositories"):
        on(node, empty)


def test_a_run_makes_its_project_ready_and_a_purge_leaves_it_so(node: FakeNode) -> None:
    url = remote(node)
    run = RunInput((RepoInput(url),), "go", ExecutorChoice("shell", "true"), Limits())
    with node.database.begin() as connection:
        made = submit_run(connection, run, ME, node.settings)
    assert shown(node, made.project_id)["state"] == "cloning"
    node.workers[0].run(made.execution_id)
    assert shown(node, made.project_id)["state"] == "ready"
    with node.database.begin() as connection:
        connection.execute(Mirror.__table__.delete().where(Mirror.project_id == made.project_id))
    with node.database.begin() as connection:
        state.settle(connection, made.project_id)
    assert shown(node, made.project_id)["state"] == "ready"


def test_a_killed_clone_ends_as_killed_queued_or_running(node: FakeNode) -> None:
    queued_project, queued = make(node, remote(node))
    node.kill(queued)
    assert (node.row(queued)["status"], shown(node, queued_project)["state"]) == ("killed", "failed")

    project_id, running = make(node, remote(node))
    arrived, go_on = threading.Event(), threading.Event()
    real = node.git.fetch

    def slow(request: Any) -> Any:
        arrived.set()
        assert go_on.wait(30)
        return real(request)  # which finds that the request was cancelled

    node.git.fetch = slow  # type: ignore[method-assign]
    try:
        thread = node.begin(running)
        assert arrived.wait(30)
        node.kill(running)
        go_on.set()
        thread.join(30)
    finally:
        node.git.fetch = real  # type: ignore[method-assign]
    assert (node.row(running)["status"], node.row(running)["reason"]) == ("killed", "user")
    assert shown(node, project_id)["state"] == "failed"


def test_another_worker_takes_a_clone_over_and_ends_it_once(node: FakeNode) -> None:
    project_id, clone = make(node, remote(node))
    arrived, go_on = threading.Event(), threading.Event()
    real = node.git.fetch

    def slow(request: Any) -> Any:
        node.git.fetch = real  # type: ignore[method-assign]
        arrived.set()
        assert go_on.wait(30)
        raise StepFailed(Reason.CLONE_FAILED, "told by a worker that owns it no more")

    node.git.fetch = slow  # type: ignore[method-assign]
    thread = node.begin(clone)
    assert arrived.wait(30)
    node.take_away(clone)
    node.expire(clone)
    node.workers[1].run(clone)
    go_on.set()
    thread.join(30)

    row = node.row(clone)
    assert (row["status"], row["fence"]) == ("completed", 3)
    kinds = [kind for kind, _ in node.events(clone)]
    assert kinds.count("execution.adopted") == 2
    assert [kind for kind, terminal in node.events(clone) if terminal] == ["execution.completed"]
    assert shown(node, project_id)["state"] == "ready"


def lose(node: FakeNode, project_id: UUID, clone: UUID, url: str) -> None:
    """The node of a running clone is lost, and the reaper ends the clone."""
    with node.database.begin() as connection:
        connection.execute(
            update(ExecutionProcess)
            .where(ExecutionProcess.id == clone)
            .values(status="running", started_at=func.now(), node_id="node", owner="gone@node#1", fence=1)
        )
        mirrors.begin_fetch(connection, mirrors.MirrorPlace("node", project_id, url, "/x"))
    with node.database.begin() as connection:
        reap.end(connection, reap.LostExecution(clone, None, RunReason.CLONE, "node", 1), {})


def operation(node: FakeNode, project_id: UUID) -> list[tuple[int, str, bool]]:
    """The events of the newest operation that clones a project."""
    clone = (Operation.subject_id == str(project_id)) & (Operation.kind == "project.clone")
    newest = select(Operation.id).where(clone).order_by(Operation.created_at.desc()).limit(1).scalar_subquery()
    told = select(Event.sequence, Event.kind, Event.terminal).where(Event.operation_id == newest)
    with node.database.connect() as connection:
        return [tuple(row) for row in connection.execute(told.order_by(Event.sequence))]


def newest(node: FakeNode, project_id: UUID) -> dict[str, Any]:
    mine = select(ExecutionProcess).where(ExecutionProcess.project_id == project_id)
    with node.database.connect() as connection:
        rows = connection.execute(mine.order_by(ExecutionProcess.created_at.desc())).mappings()
        return dict(rows.first() or {})


def test_a_clone_of_a_lost_node_is_repeated_by_another_one(node: FakeNode) -> None:
    url = remote(node)
    project_id, clone = make(node, url)
    node.database.publisher.take()
    lose(node, project_id, clone, url)
    row = node.row(clone)
    assert (row["status"], row["reason"], row["leftover_on"]) == ("failed", "node_lost", None)
    assert node.events(clone)[-1] == ("execution.failed", True)
    again = newest(node, project_id)
    assert (again["status"], again["retry_of"], again["node_id"]) == ("queued", clone, None)
    assert [message.execution_id for message in node.database.publisher.take()] == [again["id"]]
    assert shown(node, project_id)["state"] == "cloning"

    node.workers[0].run(again["id"])
    assert (shown(node, project_id)["state"], states(node, project_id)) == ("ready", [("ready", None)])
    kinds = ("project.clone_started", "project.clone_repeated", "project.cloned")
    assert operation(node, project_id) == [(n, kind, n == 3) for n, kind in enumerate(kinds, 1)]


def test_a_clone_that_loses_every_node_fails_in_the_end(node: FakeNode) -> None:
    url = remote(node)
    project_id, clone = make(node, url)
    for _ in range(clones.MOST_REPEATS + 1):
        assert shown(node, project_id)["state"] == "cloning"
        lose(node, project_id, newest(node, project_id)["id"], url)
    project = shown(node, project_id)
    assert (project["state"], project["repos"][0]["state"]) == ("failed", "failed")
    kinds = [kind for _, kind, _ in operation(node, project_id)]
    repeated = ["project.clone_repeated"] * clones.MOST_REPEATS
    assert kinds == ["project.clone_started", *repeated, "project.clone_failed"]
    assert operation(node, project_id)[-1][2]
    assert newest(node, project_id)["status"] == "failed"
    assert clone != newest(node, project_id)["id"]


def test_a_lost_clone_that_was_to_be_killed_is_not_repeated(node: FakeNode) -> None:
    url = remote(node)
    project_id, clone = make(node, url)
    with node.database.begin() as connection:
        asked = {"kill_requested_at": func.now(), "kill_requested_by": "someone"}
        connection.execute(update(ExecutionProcess).where(ExecutionProcess.id == clone).values(asked))
    lose(node, project_id, clone, url)
    assert (node.row(clone)["status"], newest(node, project_id)["id"]) == ("killed", clone)
    assert shown(node, project_id)["state"] == "failed"
    assert [kind for _, kind, _ in operation(node, project_id)] == ["project.clone_started", "project.clone_failed"]


def test_a_lost_message_of_a_clone_is_sent_again(node: FakeNode) -> None:
    _, clone = make(node, remote(node))
    with node.database.connect() as connection:
        assert clone in messages.startable(connection, -1)
        (queue,) = [each for each in messages.undispatched(connection, -1) if each.queue == "pool.default"]
        assert clone in [message.execution_id for message in queue.messages]


def test_a_deleted_project_ends_its_clone(node: FakeNode) -> None:
    project_id, clone = make(node, remote(node))
    assert projects.delete(node.database, project_id, ME) == 0
    assert node.row(clone)["status"] == "killed"


@pytest.mark.parametrize(
    "changed",
    [{"run_reason": "setup_script"}, {"project_id": None}, {"pool": None}, {"run_id": uuid4()}],
    ids=["reason", "project", "pool", "run"],
)
def test_only_a_clone_of_a_project_has_no_workspace(node: FakeNode, changed: dict[str, Any]) -> None:
    _, clone = make(node, remote(node))
    with pytest.raises(IntegrityError), node.database.begin() as connection:
        connection.execute(update(ExecutionProcess).where(ExecutionProcess.id == clone).values(changed))
