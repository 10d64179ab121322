"""The first workspace of a project: made once, by the transaction that makes the project ready, or said why not."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import func, select, update

from relay_core.domain.agents.profiles import BUILT_IN
from relay_core.domain.limits import Limits
from relay_core.store.projects import clones, projects, state
from relay_core.store.projects.projects import ProjectInput, ProjectRepoInput
from relay_core.store.projects.task_changes import NewTask
from relay_core.store.schema.tables import Event, ExecutionProcess, Project, Task, Workspace
from relay_core.store.workspaces import first_workspace
from relay_core.store.workspaces.submit import EnvValue, RepoInput, RunInput
from tests.support.diverging import clone_of
from tests.support.worker_fixtures import ME, Node

pytest_plugins = ["tests.support.worker_fixtures"]
pytestmark = pytest.mark.docker


def created(node: Node, url: str | None = None) -> UUID:
    """A project whose clone is queued, with a first workspace that waits for it."""
    url = url or f"file://{node.repo}"
    command = 'echo "$WORD" >made && git status --porcelain'
    run = RunInput(
        (RepoInput(url),),
        "go",
        {"name": "shell", "command": command},
        Limits(kill_grace_seconds=0.5),
        env={"WORD": EnvValue("hello", secret=False)},
        task=NewTask("First", "A task."),
        labels={"of": "first"},
    )
    with node.db.begin() as connection:
        made = projects.create(connection, ProjectInput("shop", repos=[ProjectRepoInput(url)]), ME)
        first_workspace.plan(connection, made, run, ME, node.context.settings, BUILT_IN)
        clones.start_clone(connection, made, node.context.settings.pool, ME.owner)
    return made


def clone(node: Node, project_id: UUID) -> dict[str, Any]:
    with node.db.connect() as connection:
        [due] = clones.active(connection, project_id)
    return node.run(due)


def first(node: Node, project_id: UUID) -> dict[str, Any]:
    with node.db.connect() as connection:
        return dict(projects.get(connection, project_id, ME)["first_workspace"])


def attempts(node: Node, project_id: UUID) -> list[UUID]:
    of_project = select(Workspace.id).join(Task, Task.id == Workspace.task_id).where(Task.project_id == project_id)
    with node.db.connect() as connection:
        return list(connection.scalars(of_project))


def kinds(node: Node) -> list[str]:
    made = select(Event.kind).where(Event.kind.like("project.first_workspace%"))
    with node.db.connect() as connection:
        return list(connection.scalars(made))


def test_the_first_workspace_is_made_when_the_project_is_ready_and_does_its_work(node: Node) -> None:
    project_id = created(node)
    assert first(node, project_id) == {"state": "waiting", "workspace_id": None, "error": None}
    assert attempts(node, project_id) == [], "no workspace of a project that is being cloned"
    assert clone(node, project_id)["status"] == "completed"
    [workspace] = attempts(node, project_id)
    assert first(node, project_id) == {"state": "made", "workspace_id": workspace, "error": None}
    assert kinds(node) == ["project.first_workspace_made"]
    with node.db.connect() as connection:
        assert connection.scalar(select(Project.first_plan)) is None, "nothing of the environment is kept there"
        task = connection.execute(select(Task.title, Task.description)).one()
    assert tuple(task) == ("First", "A task.")
    while (due := node.due(workspace)["id"]) is not None:
        ended = node.run(due)
        assert ended["status"] == "completed", ended["error_reason"]
    assert (clone_of(node, workspace) / "made").read_text() == "hello\n"


def test_it_waits_for_a_clone_that_succeeds(node: Node) -> None:
    project_id = created(node, "file:///nowhere")
    assert clone(node, project_id)["status"] == "failed"
    assert (first(node, project_id)["state"], attempts(node, project_id)) == ("waiting", [])
    with node.db.connect() as connection:
        assert projects.get(connection, project_id, ME)["state"] == "failed"


def test_what_cannot_be_made_is_said_and_leaves_nothing(node: Node) -> None:
    project_id = created(node)
    with node.db.begin() as connection:
        plan = connection.execute(select(Project.first_plan)).scalar_one()
        twice = plan | {"repos": plan["repos"] * 2}
        connection.execute(update(Project).values(first_plan=twice))
    assert clone(node, project_id)["status"] == "completed"
    told = first(node, project_id)
    assert (told["state"], told["workspace_id"]) == ("failed", None)
    assert told["error"] == "the same repository is named twice"
    assert (attempts(node, project_id), kinds(node)) == ([], ["project.first_workspace_failed"])
    with node.db.connect() as connection:
        assert connection.scalar(select(func.count()).select_from(Task)) == 0
        assert connection.scalar(select(Project.state)) == "ready"


def test_many_that_find_the_project_ready_make_one(node: Node) -> None:
    project_id = created(node)
    assert clone(node, project_id)["status"] == "completed"
    with node.db.begin() as connection:  # as before the last of several nodes has told its end
        connection.execute(update(Project).values(state="cloning"))

    def settle(_: int) -> None:
        with node.db.begin() as connection:
            state.settle(connection, project_id)
            first_workspace.make(connection, project_id)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(settle, range(8)))
    assert len(attempts(node, project_id)) == 1
    with node.db.connect() as connection:
        queued = select(func.count()).where(ExecutionProcess.workspace_id.is_not(None))
        assert connection.scalar(queued) == 1
