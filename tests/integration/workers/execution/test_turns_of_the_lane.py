"""The lane on a real node: what a step finds when its turn comes, and what does not wait for its turn at all."""

import pytest
from sqlalchemy import update

from relay_core.domain.agents.executors import ExecutorChoice
from relay_core.domain.chain import Action
from relay_core.domain.errors import Conflict
from relay_core.domain.step import AgentStep
from relay_core.domain.vocabulary import RunReason
from relay_core.store.schema.tables import Workspace
from relay_core.store.workspaces import add_step, by_hand
from tests.support.diverging import clone_of
from tests.support.worker_fixtures import ME, Node

pytest_plugins = ["tests.support.worker_fixtures"]
pytestmark = pytest.mark.docker


@pytest.mark.proves("T002-04")
def test_a_step_whose_workspace_was_archived_while_it_waited_is_refused_and_does_nothing(node: Node) -> None:
    workspace = node.submit()
    node.run(node.chain(workspace, RunReason.CODING_AGENT)["id"])
    first = node.add(workspace, "echo begun; until [ -e go ]; do sleep 0.1; done")
    second = node.add(workspace, "touch written")
    node.begin(first)
    node.until(lambda: node.log(first) == b"begun\n", "the first step runs")
    assert node.run(second)["status"] == "queued", "the lane is held"
    with node.db.begin() as connection, pytest.raises(Conflict) as caught:
        by_hand.change(connection, workspace, {"archived": True}, ME)
    assert caught.value.code == "workspace_busy"
    with node.db.begin() as connection:  # as something might that did not ask
        connection.execute(update(Workspace).where(Workspace.id == workspace).values(archived=True))
    (clone_of(node, workspace) / "go").touch()
    assert node.wait_final(first)["status"] == "completed"

    refused = node.run(second)
    assert (refused["status"], refused["reason"]) == ("failed", "workspace_gone")
    assert "was archived before this step could start" in refused["error_reason"]
    assert (refused["started_at"], refused["handle"], refused["owner"]) == (None, None, None)
    assert not (node.context.settings.data_dir / "executions" / str(second)).exists()
    assert not (clone_of(node, workspace) / "written").exists()


@pytest.mark.proves("T002-20")
def test_an_agent_starts_while_a_dev_server_runs(node: Node) -> None:
    workspace = node.submit()
    node.run(node.chain(workspace, RunReason.CODING_AGENT)["id"])
    server = node.add(workspace, "exec python3 -m http.server $PORT --bind $HOST", reason="dev_server")
    node.begin(server)
    node.until(lambda: "dev_server.ready" in node.kinds(workspace), "the dev server answers")
    step = AgentStep(ExecutorChoice("shell", "echo beside it"), "go", f"repos/{node.repo.name}", follow_up=False)
    with node.db.begin() as connection:
        agent = add_step.queue_step(connection, workspace, Action(step), ME)
    assert node.run(agent)["status"] == "completed"
    assert node.log(agent) == b"beside it\n"
    running = node.row(server)
    assert (running["status"], running["started_at"] < node.row(agent)["started_at"]) == ("running", True)
    node.kill(server)
    assert node.wait_final(server)["completed_at"] > node.row(agent)["completed_at"], "it ran all the while"
