"""Kills: every process of one execution, whatever it does, and nothing else."""

import time

import pytest

from relay_core.domain.errors import StepFailed
from relay_core.domain.vocabulary import Reason, Stream
from relay_workers.containers.docker.channels import OtherFirstProcess
from relay_workers.containers.port import KillResult
from relay_workers.execution.exit_verdict import ExitVerdict
from tests.support.waiting import eventually

pytest_plugins = ["tests.support.engine_fixtures"]
pytestmark = pytest.mark.docker


def wait_for_output(step, expected: bytes):
    eventually(lambda: expected in step.log(), f"{expected!r} in the log")


def test_term_lets_a_step_end_in_its_own_way(calm_workspace):
    step = calm_workspace.start("trap 'echo bye; exit 5' TERM; echo ready; while :; do sleep 0.05; done")
    wait_for_output(step, b"ready")
    result = calm_workspace.kill(step, grace_seconds=10)
    assert (result.remaining, result.restarted) == (0, False)
    assert step.verdict().exit_code == 5
    assert step.log().endswith(b"bye\n")


def test_what_ignores_term_is_killed_after_the_grace(calm_workspace):
    step = calm_workspace.start("trap '' TERM; echo ready; while :; do sleep 0.05; done")
    wait_for_output(step, b"ready")
    started = time.monotonic()
    result = calm_workspace.kill(step, grace_seconds=0.5)
    assert time.monotonic() - started >= 0.5
    assert (result.remaining, result.restarted) == (0, False)
    assert step.verdict().exit_code == 137
    assert calm_workspace.processes(step.gid) == []


def test_what_was_written_before_a_kill_is_in_the_log(calm_workspace):
    step = calm_workspace.start("head -c 3000000 /dev/zero; echo ready >&2; exec sleep 60")
    eventually(lambda: step.log(Stream.STDERR) == b"ready\n", "the step waits")
    assert calm_workspace.kill(step).remaining == 0
    step.wait()
    assert len(step.log()) == 3_000_000


def test_children_of_another_session_and_an_empty_environment_are_found(calm_workspace):
    step = calm_workspace.start(
        "env -i setsid sh -c 'trap \"\" TERM HUP; (setsid sleep 1000 &) ; exec sleep 1001' >/dev/null 2>&1 & echo ready; exec sleep 1002"
    )
    wait_for_output(step, b"ready")
    eventually(
        lambda: len([line for line in calm_workspace.processes(20001) if "sleep" in line]) == 3, "all three sleep"
    )
    assert calm_workspace.kill(step).remaining == 0
    assert calm_workspace.processes(20001) == []


def test_another_execution_goes_on(calm_workspace):
    other = calm_workspace.start("while :; do echo tick; sleep 0.05; done", gid=20002)
    step = calm_workspace.start("exec sleep 60", gid=20001)
    assert calm_workspace.kill(step).remaining == 0
    seen = len(other.log())
    eventually(lambda: len(other.log()) > seen, "the other execution goes on")
    assert calm_workspace.kill(other).remaining == 0


def test_a_thread_that_outlives_its_leader_is_ended(calm_workspace):
    script = """import ctypes, threading, time
threading.Thread(target=time.sleep, args=(1000,)).start()
print("ready", flush=True)
ctypes.CDLL(None).pthread_exit(None)
"""
    step = calm_workspace.start("#!/usr/bin/env python3\n" + script)
    wait_for_output(step, b"ready")
    assert calm_workspace.kill(step).remaining == 0
    step.wait()


def test_a_root_step_that_changes_gid_uid_and_session_is_ended_with_its_execution(workspace):
    server = workspace.start("exec sleep 60", gid=20002)
    script = "setpriv --reuid 33 --regid 54000 --clear-groups setsid sleep 1000 >/dev/null 2>&1 & setpriv --regid 33 --clear-groups sleep 1001 >/dev/null 2>&1 & echo ready"
    setup = workspace.start(script, gid=20001, uid=0)
    setup.exited()
    eventually(lambda: len([line for line in workspace.processes() if "sleep 100" in line]) == 2, "both sleep")
    result = workspace.kill(setup)
    assert (result.remaining, result.restarted) == (0, False)
    assert [line for line in workspace.processes() if "sleep 100" in line] == []
    assert server.over() is None


@pytest.mark.parametrize("shell", ["exit 0", "exec tr '\\0' x </dev/zero", "while read -r line; do echo 0 0 0; done"])
def test_no_kill_depends_on_a_program_of_the_container(workspace, shell):
    """Inputs of the first edition's faults 2 to 4: a root step replaces the shell, the accounts and the name service."""
    script = f"""#!/bin/bash
printf '#!/bin/bash\\n{shell}\\n' >/bin/sh.new && chmod 755 /bin/sh.new && mv /bin/sh.new /bin/sh
rm -f /etc/passwd /etc/group /etc/nsswitch.conf; mkfifo /etc/passwd /etc/group /etc/nsswitch.conf
echo ready
exec sleep 60
"""
    step = workspace.start(script, uid=0)
    wait_for_output(step, b"ready")
    started = time.monotonic()
    result = workspace.kill(step)
    assert (result.remaining, result.restarted) == (0, False)
    assert time.monotonic() - started < 5
    assert workspace.processes() == []
    assert workspace.run("#!/bin/echo next", gid=20003).log().startswith(b"next ")


def test_a_stopped_container_has_nothing_left(workspace):
    step = workspace.start("exec sleep 60")
    workspace.containers.stop(workspace.container)
    assert workspace.kill(step) == KillResult(0, 0, restarted=False)


def test_a_frozen_container_is_restarted_by_a_kill(workspace, docker_api):
    """Nothing in it can answer; its processes are ended from the host."""
    step = workspace.start("exec sleep 60")
    docker_api.pause(workspace.container)
    result = workspace.kill(step)
    assert (result.remaining, result.restarted) == (0, True)
    assert step.verdict() == ExitVerdict(None, Reason.CONTAINER_MISSING)
    assert workspace.run("echo next").log() == b"next\n"


def test_a_container_of_the_first_edition_is_ended_as_a_whole(docker_engine, docker_api, new_workspace):
    """Its first process is another program: nothing hangs, no step starts in it, and a kill leaves no process."""
    model = new_workspace()
    name = f"{model.spec.name}-old"
    old = docker_api.create_container(model.spec.image, ["sleep", "1000"], entrypoint=[], name=name)["Id"]
    docker_api.start(old)
    try:
        start = model.prepare("echo never")
        with pytest.raises(OtherFirstProcess) as caught:
            docker_engine.start(old, start)
        assert isinstance(caught.value, StepFailed)
        before = docker_engine.inspect(old).started_at
        assert docker_engine.kill_execution(old, start.files.key, grace_seconds=0) == KillResult(0, 0, restarted=True)
        assert docker_engine.inspect(old).started_at != before
    finally:
        docker_api.remove_container(old, force=True)


def test_an_easy_kill_takes_less_than_its_grace(calm_workspace):
    step = calm_workspace.start("exec sleep 60")
    started = time.monotonic()
    calm_workspace.kill(step, grace_seconds=20)
    assert time.monotonic() - started < 10
