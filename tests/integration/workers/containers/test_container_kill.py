"""Kills: every process of one execution, whatever it does, and nothing else."""

import shutil
import time

import pytest
from relay_workers.containers.docker.attached import HelperConnection

from relay_core.domain.vocabulary import Stream
from relay_workers.containers.docker.host_view import HostView
from relay_workers.containers.docker.process_table import TOP, parse_top, processes_to_end
from relay_workers.containers.port import KillResult
from tests.support.waiting import eventually

pytest_plugins = ["tests.support.engine_fixtures"]
pytestmark = pytest.mark.docker


def kill(workspace, gid, grace_seconds=0.0) -> KillResult:
    return workspace.containers.kill_execution(workspace.container, gid, grace_seconds=grace_seconds)


def wait_for_output(step, expected: bytes):
    eventually(lambda: expected in step.log(), f"{expected!r} in the log")


def test_term_lets_a_step_end_in_its_own_way(workspace):
    step = workspace.start("trap 'echo bye; exit 5' TERM; echo ready; while :; do sleep 0.05; done")
    wait_for_output(step, b"ready")
    result = kill(workspace, step.gid, grace_seconds=10)
    assert (result.remaining, result.restarted) == (0, False)
    assert step.wait().endswith(b"x")
    assert step.log().endswith(b"bye\n")
    record = step.record()
    assert (record.code, record.drained, record.lost_output) == (5, True, False)


def test_what_ignores_term_is_killed_after_the_grace(workspace):
    step = workspace.start("trap '' TERM; echo ready; while :; do sleep 0.05; done")
    wait_for_output(step, b"ready")
    started = time.monotonic()
    result = kill(workspace, step.gid, grace_seconds=0.5)
    assert time.monotonic() - started >= 0.5
    assert (result.remaining, result.restarted) == (0, False)
    step.wait()
    assert workspace.processes(step.gid) == []


def test_what_was_written_before_a_kill_is_in_the_log(workspace):
    step = workspace.start("head -c 3000000 /dev/zero; echo ready >&2; exec sleep 60")
    eventually(lambda: step.log(Stream.STDERR) == b"ready\n", "the step waits")
    assert kill(workspace, step.gid).remaining == 0
    step.wait()
    assert len(step.log()) == 3_000_000
    record = step.record()
    assert (record.code, record.drained, record.lost_output) == (143, True, False)


def test_children_of_another_session_and_an_empty_environment_are_found(workspace):
    step = workspace.start(
        "env -i setsid sh -c 'trap \"\" TERM HUP; (setsid sleep 1000 &) ; exec sleep 1001' >/dev/null 2>&1 & echo ready; exec sleep 1002"
    )
    wait_for_output(step, b"ready")
    eventually(lambda: len([line for line in workspace.processes(20001) if "sleep" in line]) == 3, "all three sleep")
    assert kill(workspace, step.gid).remaining == 0
    assert workspace.processes(20001) == []


def test_another_execution_goes_on(workspace):
    other = workspace.start("while :; do echo tick; sleep 0.05; done", gid=20002)
    step = workspace.start("exec sleep 60", gid=20001)
    assert kill(workspace, step.gid).remaining == 0
    seen = len(other.log())
    eventually(lambda: len(other.log()) > seen, "the other execution goes on")
    assert other.run.read_exit() is None
    assert kill(workspace, other.gid).remaining == 0


@pytest.mark.alone
@pytest.mark.parametrize("ignore", ["", "trap '' TERM;"])
def test_a_fork_bomb_at_the_pids_limit_is_ended(workspace, ignore):
    other = workspace.start("exec sleep 60", gid=20002)
    started_at = workspace.containers.inspect(workspace.container).started_at
    bomb = workspace.start(f"#!/bin/bash\n{ignore} bomb() {{ bomb | bomb & }}; bomb; wait; sleep 60", gid=20001)
    limit = workspace.spec.limits.pids
    eventually(lambda: len(workspace.processes()) >= limit * 0.9, "the limit is reached")
    result = kill(workspace, bomb.gid)
    assert (result.remaining, result.restarted) == (0, False)
    assert workspace.processes(bomb.gid) == []
    assert other.run.read_exit() is None
    assert workspace.containers.inspect(workspace.container).started_at == started_at
    assert workspace.run("echo next", gid=20003).log() == b"next\n"


def test_a_background_child_that_outlives_its_step_is_ended(workspace):
    step = workspace.start("sleep 1000 & exit 3")
    step.wait(b"x")
    assert (step.record().code, step.record().drained) == (3, False)
    assert kill(workspace, step.gid).remaining == 0
    step.wait()
    assert step.record().drained
    assert workspace.processes() == []


def test_a_thread_that_outlives_its_leader_is_ended(workspace):
    script = """import ctypes, threading, time
threading.Thread(target=time.sleep, args=(1000,)).start()
print("ready", flush=True)
ctypes.CDLL(None).pthread_exit(None)
"""
    step = workspace.start("#!/usr/bin/env python3\n" + script)
    wait_for_output(step, b"ready")
    assert kill(workspace, step.gid).remaining == 0
    step.wait()


def test_nothing_to_kill_is_fine(workspace):
    assert kill(workspace, 29999) == KillResult(remaining=0, rounds=1, restarted=False)


def test_leftovers_of_a_root_step_that_changed_its_group_are_ended(workspace):
    server = workspace.start("exec sleep 60", gid=20002)
    script = "setpriv --regid 33 --clear-groups setsid sleep 1000 >/dev/null 2>&1 & setpriv --reuid 33 --regid 0 --clear-groups sleep 1001 >/dev/null 2>&1 & echo ready"
    setup = workspace.start(script, gid=20001, uid=0)
    setup.wait()
    eventually(lambda: len([line for line in workspace.processes() if "sleep 100" in line]) == 2, "both sleep")
    result = workspace.containers.end_leftovers(workspace.container, [20002])
    assert (result.remaining, result.restarted) == (0, False)
    assert [line for line in workspace.processes() if "sleep 100" in line] == []
    assert server.run.read_exit() is None


def test_a_shell_that_lies_or_is_broken_costs_the_container_its_processes(workspace):
    step = workspace.start("cp /bin/true /bin/sh.new && mv /bin/sh.new /bin/sh; exec sleep 60", uid=0)
    eventually(lambda: [line for line in workspace.processes() if line == "sleep 60"], "the shell is replaced")
    result = kill(workspace, step.gid)
    assert (result.remaining, result.restarted) == (0, True)
    assert workspace.processes() == []
    step.wait()


LIARS = {
    "floods without a line's end": "exec tr '\\0' x </dev/zero",
    "answers a byte now and then": "while :; do printf 1; sleep 4; done",
    "says that nothing is there": "while read -r line; do echo 0 0 0; done",
    "answers before it is asked": "yes 0 0 0",
}


def liar(what: str) -> str:
    """A root step that puts another program in the place of the container's shell, and sleeps."""
    return f"""#!/bin/bash
cat >/bin/sh.new <<'END'
#!/bin/bash
{LIARS[what]}
END
chmod 755 /bin/sh.new && mv /bin/sh.new /bin/sh
echo ready
exec sleep 60
"""


@pytest.mark.parametrize("view", ["host", "engine"])
@pytest.mark.parametrize("what", LIARS)
def test_a_shell_that_talks_is_not_believed(workspace, monkeypatch, what, view):
    if view == "engine":  # as for a worker in a container of its own
        monkeypatch.setattr(HostView, "processes", lambda *_: None)
    step = workspace.start(liar(what), uid=0)
    wait_for_output(step, b"ready")
    started = time.monotonic()
    result = kill(workspace, step.gid)
    assert (result.remaining, result.restarted) == (0, True)
    assert time.monotonic() - started < 25
    eventually(lambda: workspace.processes() == [], "the end of the commands that the engine was still starting")
    step.wait()


def test_a_root_process_of_another_gid_is_seen_from_outside(workspace):
    script = "setpriv --regid 54000 --clear-groups setsid sleep 1000 >/dev/null 2>&1 & echo ready"
    workspace.start(script, gid=20001, uid=0).wait()
    eventually(lambda: "sleep 1000" in workspace.processes(), "it sleeps")
    api, container = workspace.api, workspace.container
    views = [HostView().processes(api.inspect_container(container)["Id"]), parse_top(api.top(container, TOP))]
    for seen in views:
        assert [one.gids for one in processes_to_end(seen, "except", {20002})] == [(54000,) * 4]
        assert [one.gids for one in processes_to_end(seen, "only", {54000})] == [(54000,) * 4]
        assert processes_to_end(seen, "except", {54000}) == processes_to_end(seen, "only", {20001}) == []


def test_a_stopped_container_has_nothing_left(workspace):
    workspace.start("exec sleep 60")
    workspace.containers.stop(workspace.container)
    assert kill(workspace, 20001).remaining == 0


SHELLS = [shell for shell in ("dash", "bash", "busybox") if shell != "busybox" or shutil.which(shell)]
"""Those of the base image, and a static busybox of this machine where there is one."""


@pytest.mark.parametrize("shell", SHELLS)
def test_the_killer_runs_in_every_shell(workspace, docker_api, shell):
    words = [shell]
    if shell == "busybox":
        shutil.copy(str(shutil.which(shell)), workspace.spec.workspace_dir)
        words = ["/workspace/busybox", "sh"]
    step = workspace.start("echo ready; while :; do sleep 0.05; done")
    wait_for_output(step, b"ready")
    command = [*words, "/relay/kill.sh", "only", str(step.gid)]
    exec_id = docker_api.exec_create(workspace.container, command, stdin=True, user="0:0")["Id"]
    with HelperConnection(docker_api, exec_id, 10) as killer:
        chosen, moving, spared = (int(word) for word in killer.ask("0 1").split())
        assert chosen == moving >= 1
        assert spared == 5  # the supervisor, two copiers and what each runs
        assert int(killer.ask("STOP 0").split()[0]) > spared
        eventually(lambda: killer.ask("STOP 0").split()[1] == "0", "all are stopped")
        eventually(lambda: killer.ask("KILL 0") == "0 0 0", "all are gone")


def test_an_easy_kill_takes_less_than_its_grace(workspace):
    step = workspace.start("exec sleep 60")
    started = time.monotonic()
    kill(workspace, step.gid, grace_seconds=20)
    assert time.monotonic() - started < 10
