"""A final status is never written while a process may run unseen, and a kill that was accepted is carried out."""

import json
import threading
from contextlib import closing

import docker
import pytest
from sqlalchemy import text

from relay_core.domain.vocabulary import RunReason
from relay_core.store.executions.claim import Claimant, Claimed, claim
from relay_core.store.executions.kill import request_kill
from relay_workers.containers.pid1.client import ANSWER_SECONDS
from relay_workers.containers.port import container_name
from relay_workers.execution.step_session import StepSession
from relay_workers.maintenance.clocks import make_leftovers
from relay_workers.ownership.live_executions import ExecutionControl

pytest_plugins = ["tests.support.worker_fixtures"]
pytestmark = [pytest.mark.docker, pytest.mark.timeout(180)]

AGENT = RunReason.CODING_AGENT


def ticking(name: str) -> str:
    """A command that ignores TERM and is seen by name."""
    return f"trap '' TERM; echo begun; while :; do sleep {name}; done"


def test_an_engine_that_is_away_for_too_long_leaves_nothing_running_beside_the_next_step(node):
    """The kill cannot be carried out in time: the end says so, and the lane is held until it is."""
    workspace = node.submit(command=ticking("987"))
    agent = node.chain(workspace, AGENT)["id"]
    node.begin(agent)
    node.until(lambda: node.log(agent) == b"begun\n", "the agent runs")
    following = node.add(workspace, "echo next")
    with node.frozen(workspace):  # with the engine alone away, relay-pid1 would carry the kill out
        node.line.cut()
        node.kill(agent)
        ended = node.wait_final(agent)
    assert (ended["status"], ended["reason"], ended["leftover_on"]) == (
        "failed",
        "engine_error",
        node.context.claimant.node_id,
    )
    assert all(info.truncated and info.closed for info in node.context.logs.sizes(agent).values())
    node.line.mend()
    assert node.run(following)["status"] == "queued", "its lane is held"
    make_leftovers(node.context).sweep()
    assert "sleep 987" not in node.processes(workspace)
    assert node.run(following)["status"] == "completed"


def test_a_kill_needs_no_engine(node):
    workspace = node.submit(command=ticking("983"))
    agent = node.chain(workspace, AGENT)["id"]
    node.begin(agent)
    node.until(lambda: node.log(agent) == b"begun\n", "the agent runs")
    node.line.cut()
    node.kill(agent)
    node.until(lambda: "sleep 983" not in node.processes(workspace), "it is ended")
    node.line.mend()
    ended = node.wait_final(agent)
    assert (ended["status"], ended["leftover_on"]) == ("killed", None)


def test_an_engine_that_is_away_for_a_moment_does_not_end_a_dev_server(node):
    serve = "sleep 1; exec python3 -m http.server $PORT --bind $HOST"
    workspace = node.submit()
    node.run(node.chain(workspace, AGENT)["id"])
    server = node.add(workspace, serve, reason="dev_server")
    node.begin(server)
    node.wait_status(server, "running")
    node.until(lambda: "sleep 1" in node.processes(workspace), "it starts")
    node.line.cut()
    threading.Event().wait(0.3)
    node.line.mend()
    node.until(lambda: "dev_server.ready" in node.kinds(workspace), "it answers")
    assert node.row(server)["status"] == "running"
    node.kill(server)
    assert node.wait_final(server)["status"] == "killed"


def test_a_dev_server_keeps_its_url_when_it_is_taken_over(node):
    """Here by the worker that let go of it, which need not wait for the end of a lease."""
    workspace = node.submit()
    node.run(node.chain(workspace, AGENT)["id"])
    server = node.add(workspace, "exec python3 -m http.server $PORT --bind $HOST", reason="dev_server")
    first = node.begin(server)
    node.until(lambda: node.kinds(workspace).count("dev_server.ready") == 1, "it answers")
    before = node.row(server)["handle"]["forward_port"]
    (control,) = node.context.live.all()
    control.let_go()
    first.join(10)
    node.until(lambda: not node.context.live.all(), "it is let go")
    node.begin(server)
    node.until(lambda: node.kinds(workspace).count("dev_server.ready") == 2, "it is taken over")
    assert node.row(server)["handle"]["forward_port"] == before
    node.kill(server)
    assert node.wait_final(server)["status"] == "killed"


def test_a_start_in_a_frozen_container_is_carried_out_once_when_it_goes_on(node):
    object.__setattr__(node.context.retry_while_silent, "_seconds", 300)
    workspace = node.submit(command="echo once")
    agent = node.chain(workspace, AGENT)["id"]
    with node.frozen(workspace):
        node.begin(agent)
        node.until(lambda: "fence" in (node.row(agent)["handle"] or {}), "it is prepared")
        threading.Event().wait(ANSWER_SECONDS + 0.5)
        assert node.row(agent)["status"] == "running"
    ended = node.wait_final(agent)
    assert (ended["status"], ended["error_reason"]) == ("completed", None)
    assert node.log(agent) == b"once\n"
    assert node.kinds(workspace).count("execution.started") == 2, "the clone, and the agent once"


def test_a_container_that_stays_frozen_ends_the_step(node):
    """The first owner leaves it, as it cannot know; the next one ends the container from outside."""
    object.__setattr__(node.context.retry_while_silent, "_seconds", 0)
    workspace = node.submit(command="echo never")
    agent = node.chain(workspace, AGENT)["id"]
    with closing(docker.from_env()) as client:
        client.api.pause(container_name(str(workspace)))
    node.run(agent)
    assert node.row(agent)["status"] == "running", "it was left, not ended"
    ended = node.run(agent)
    assert (ended["status"], ended["reason"], ended["leftover_on"]) == ("failed", "engine_error", None)
    assert node.log(agent) == b""


def test_a_step_that_breaks_relay_after_its_start_is_ended_with_its_processes(node, monkeypatch):
    workspace = node.submit(command=ticking("986"))
    agent = node.chain(workspace, AGENT)["id"]

    def broken(*_: object) -> None:
        node.until(lambda: "sleep 986" in node.processes(workspace), "it runs")
        raise ZeroDivisionError

    monkeypatch.setattr(StepSession, "wait", broken)
    ended = node.run(agent)
    assert (ended["status"], ended["reason"], ended["leftover_on"]) == ("failed", "internal_error", None)
    assert "sleep 986" not in node.processes(workspace)
    assert all(info.truncated for info in node.context.logs.sizes(agent).values())


def test_a_kill_while_a_background_process_holds_the_log(node):
    workspace = node.submit(setup_script="(while sleep 0.1; do echo on; sleep 0.0985; done) & echo done")
    setup = node.chain(workspace, RunReason.SETUP_SCRIPT)["id"]
    node.begin(setup)
    node.until(lambda: node.log(setup).startswith(b"done\non\n"), "it has exited, and its log is held")
    node.kill(setup)
    ended = node.wait_final(setup)
    assert (ended["status"], ended["reason"], ended["exit_code"]) == ("killed", "user", 0)
    assert "sleep 0.0985" not in node.processes(workspace)
    assert node.reasons(workspace) == ["clone", "setup_script"], "nothing follows a killed step"


def test_a_kill_before_the_start(node, monkeypatch):
    """It comes when the step is prepared."""
    workspace = node.submit(command=ticking("984"))
    agent = node.chain(workspace, AGENT)["id"]
    go_on, confirm = threading.Event(), node.context.leases.confirm

    def late(control: ExecutionControl) -> None:
        go_on.wait(30)
        confirm(control)

    monkeypatch.setattr(node.context.leases, "confirm", late)
    node.begin(agent)
    node.until(lambda: "fence" in (node.row(agent)["handle"] or {}), "it is prepared")
    node.kill(agent)
    node.until(lambda: all(one.kill.is_set() for one in node.context.live.all()), "the renewal tells of it")
    go_on.set()
    ended = node.wait_final(agent)
    assert (ended["status"], ended["reason"]) == ("killed", "user")
    assert node.log(agent) == b""
    assert "sleep 984" not in node.processes(workspace)


def test_a_kill_before_the_start_does_not_wait_for_an_engine_that_is_away(node):
    object.__setattr__(node.context.retry_while_silent, "_seconds", 300)
    workspace = node.submit()
    agent = node.chain(workspace, AGENT)["id"]
    node.line.cut()
    node.context.containers._channels.forget(
        node.workspace(workspace)["container_id"]
    )  # as in a worker that has just started
    node.begin(agent)
    node.wait_status(agent, "running")
    node.kill(agent)
    ended = node.wait_final(agent)
    assert (ended["status"], ended["leftover_on"]) == ("killed", None)


@pytest.mark.parametrize("reason", [RunReason.CLONE, AGENT])
def test_a_kill_between_the_last_look_and_the_terminal_transaction(node, reason):
    """In the evidence of an agent, or after a clone is done: its end waits for the lane's lock, which the kill has."""
    workspace = node.submit(command="sleep 1", cleanup_script="echo never")
    step = node.chain(workspace, reason)["id"]
    thread = node.begin(step)
    node.wait_status(step, "running")
    with node.db.begin() as killer:
        killer.execute(text("SELECT 1 FROM lanes WHERE workspace_id = :id FOR UPDATE"), {"id": workspace})
        node.until(lambda: waits_for_a_lock(node), "the end waits")
        request_kill(killer, step, "someone")
    thread.join(60)
    ended = node.row(step)
    assert (ended["status"], ended["reason"], ended["exit_code"]) == ("killed", "user", 0)
    assert node.reasons(workspace)[-1] == reason, "nothing follows a killed step"


def waits_for_a_lock(node) -> int:
    with node.db.connect() as connection:
        return connection.scalar(
            text(
                "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
            )
        )


def test_an_end_that_cannot_be_stored_is_stored_without_what_it_cannot(node):
    """A deterministic error in the terminal transaction must not make the run go round for ever."""
    workspace = node.submit(cleanup_script="echo never")
    agent = node.chain(workspace, AGENT)["id"]
    with node.db.begin() as connection:
        connection.execute(
            text("ALTER TABLE execution_process_repo_states ADD CHECK (after_head_commit IS NULL) NOT VALID")
        )
    ended = node.run(agent)
    assert (ended["status"], ended["reason"]) == ("failed", "internal_error")
    assert all(info.closed for info in node.context.logs.sizes(agent).values())
    assert node.kinds(workspace).count("execution.failed") == 1


def test_an_execution_that_the_first_edition_started_ends_with_a_named_reason(node):
    """Its node was upgraded while it ran: its process is in a container without relay-pid1."""
    workspace = node.submit(command="echo never")
    agent = node.chain(workspace, AGENT)["id"]
    name = container_name(str(workspace))
    with closing(docker.from_env()) as client:
        new = client.containers.get(name)
        labels, image = new.labels, new.attrs["Config"]["Image"]
        new.remove(force=True)
        command = ["sleep", "983"]
        old = client.containers.run(image, command, entrypoint=[], name=name, labels=labels, detach=True, user="0:0")
        old.exec_run(["sleep", "982"], detach=True)
    with node.db.begin() as connection:
        connection.execute(text("UPDATE workspaces SET container_id = :id"), {"id": old.id})
        mine = node.context.claimant
        before = f"{mine.owner.partition('#')[0]}#before"  # dead: the worker of this name has another life now
        claimed = claim(connection, agent, 1, Claimant(before, mine.node_id, mine.pool, mine.lease_seconds))
        assert isinstance(claimed, Claimed)
        connection.execute(
            text("UPDATE execution_processes SET handle = CAST(:handle AS jsonb) WHERE id = :id"),
            {"id": agent, "handle": json.dumps({"version": 1, "gid": 20001, "fence": 1, "exec_id": "e"})},
        )
    ended = node.run(agent)
    assert (ended["status"], ended["reason"], ended["leftover_on"]) == ("failed", "supervisor_lost", None)
    assert "upgraded" in ended["error_reason"]
    assert "sleep 982" not in node.processes(workspace)
