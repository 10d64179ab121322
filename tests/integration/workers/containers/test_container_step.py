"""Steps in a real container: started once, captured whole, judged right."""

import os
from dataclasses import replace

import pytest

from relay_core.domain.errors import Conflict, StepFailed
from relay_core.domain.vocabulary import Reason, Stream
from relay_workers.containers.docker.docker_containers import DockerContainers
from relay_workers.containers.pid1.record import is_held
from relay_workers.containers.port import EngineUnavailable
from relay_workers.execution.exit_verdict import ExitVerdict
from tests.support.engine_fixtures import UID, Step
from tests.support.waiting import eventually

pytest_plugins = ["tests.support.engine_fixtures"]
pytestmark = pytest.mark.docker


def test_a_step_from_start_to_end(calm_workspace):
    step = calm_workspace.run(
        'cat; echo "$GREETING $(id -u) $(id -g) $PWD" >&2; exit 7', stdin=b"in", env={"GREETING": "hi"}
    )
    assert step.log() == b"in"
    assert step.log(Stream.STDERR) == b"hi %d 20001 /workspace\n" % UID
    assert step.verdict() == ExitVerdict(7, Reason.EXIT_CODE)
    record = step.record
    assert (record.drained.stdout.copied, record.drained.stderr.copied) == (2, len(step.log(Stream.STDERR)))
    step.files.remove()
    assert not step.files.directory.parent.exists()


@pytest.mark.parametrize(
    ("script", "words"),
    [
        ("#!/no/such/program\ntrue\n", "asks for /no/such/program"),
        ("#!/bin/sh\r\ntrue\r\n", "ends with a carriage return"),
    ],
)
def test_a_missing_interpreter_is_named(calm_workspace, script, words):
    start = calm_workspace.prepare(script)
    with pytest.raises(StepFailed, match=words) as caught:
        calm_workspace.containers.start(calm_workspace.container, start)
    assert caught.value.reason == Reason.START_FAILED


@pytest.mark.parametrize("cwd", ["/workspace/absent", "/etc/passwd", "/root"])
def test_a_directory_that_cannot_be_entered_is_no_start(calm_workspace, cwd):
    start = replace(calm_workspace.prepare("echo never"), cwd=cwd)
    with pytest.raises(StepFailed, match="entering its working directory") as caught:
        calm_workspace.containers.start(calm_workspace.container, start)
    assert caught.value.reason == Reason.START_FAILED
    assert Step(start.files, start.gid).log() == b""


def test_an_own_interpreter_is_followed(calm_workspace):
    step = calm_workspace.run("#!/usr/bin/env python3\nimport sys\nprint('py', sys.argv[1:])\nsys.exit(4)\n")
    assert (step.log(), step.verdict().exit_code) == (b"py []\n", 4)


def test_a_start_that_was_forbidden_does_not_happen(calm_workspace):
    start = calm_workspace.prepare("echo never")
    assert calm_workspace.containers.forbid(calm_workspace.container, start.files.key)
    with pytest.raises(Conflict):
        calm_workspace.containers.start(calm_workspace.container, start)
    assert Step(start.files, start.gid).log() == b""
    assert not is_held(start.files.directory / "record")


def test_a_start_that_a_frozen_container_did_not_answer_is_decided_later(workspace, docker_api):
    """The request is in the queue of relay-pid1: it is carried out when the container goes on."""
    start = workspace.prepare("echo late")
    docker_api.pause(workspace.container)
    try:
        with pytest.raises(EngineUnavailable) as caught:
            workspace.containers.start(workspace.container, start)
        assert caught.value.silent
    finally:
        docker_api.unpause(workspace.container)
    assert not workspace.containers.forbid(workspace.container, start.files.key)
    step = Step(start.files, start.gid)
    step.wait()
    assert step.log() == b"late\n"


def test_another_worker_of_the_node_follows_and_ends_a_step(calm_workspace, docker_api):
    step = calm_workspace.start("echo begun; exec sleep 1000")
    other = DockerContainers(docker_api)
    assert not other.forbid(calm_workspace.container, step.files.key)
    assert other.kill_execution(calm_workspace.container, step.files.key, grace_seconds=5).remaining == 0
    assert step.verdict().exit_code == 143


def test_the_end_of_the_container_is_seen_without_the_engine(workspace, docker_api):
    step = workspace.start("echo begun; exec sleep 1000")
    eventually(lambda: step.log() == b"begun\n", "it writes")
    docker_api.kill(workspace.container)
    assert step.verdict() == ExitVerdict(None, Reason.CONTAINER_MISSING)
    assert step.log() == b"begun\n"


def test_100_mb_without_a_newline(calm_workspace):
    step = calm_workspace.run("head -c 100000000 /dev/zero")
    assert (step.files.directory / "stdout").stat().st_size == 100_000_000
    assert step.record.drained


def test_64_mib_on_both_streams(calm_workspace):
    data = os.urandom(32 << 20)
    (calm_workspace.spec.workspace_dir / "data").write_bytes(data)
    step = calm_workspace.run("tee /dev/stderr <data; echo end >/dev/stderr")
    assert step.log() == data
    assert step.log(Stream.STDERR) == data + b"end\n"


def test_root_and_who_it_becomes_write_to_the_same_log(calm_workspace):
    step = calm_workspace.run(
        "echo root >/dev/stderr; setpriv --reuid 33 --regid 33 --clear-groups sh -c 'echo 33 >&2'", uid=0
    )
    assert step.log(Stream.STDERR) == b"root\n33\n"
    assert step.verdict().exit_code == 0


def test_a_step_cannot_kill_what_supervises_it(calm_workspace):
    step = calm_workspace.run("kill -9 $PPID 2>/dev/null || echo refused; exit 3")
    assert (step.log(), step.verdict().exit_code) == (b"refused\n", 3)


def test_the_kernel_ending_a_step_for_memory_is_oom(workspace):
    step = workspace.run("exec python3 -c 'x = bytearray(1 << 30)'")
    assert step.verdict() == ExitVerdict(137, Reason.OOM)
    later = workspace.run("kill -9 $$")
    assert later.verdict() == ExitVerdict(137, Reason.EXIT_CODE)


def test_no_file_of_the_execution_is_in_sight_of_the_step(calm_workspace):
    """Neither as its user nor as root: its descriptors are pipes, a sealed stdin and its own script."""
    look = "ls -l /proc/self/fd /proc/1/fd 2>/dev/null; grep -r executions /proc/self/mountinfo"
    for uid in (UID, 0):
        step = calm_workspace.run(look, uid=uid, stdin=b"in")
        said = step.log()
        assert b"pipe:" in said
        assert str(step.files.directory).encode() not in said
        assert b"executions" not in said


def test_other_executions_of_the_workspace_do_not_see_the_environment(calm_workspace):
    secret = calm_workspace.start("exec sleep 60", gid=20001, env={"SECRET": "hush"})
    look = "grep -l SECRET=hush /proc/[0-9]*/environ 2>/dev/null | wc -l"
    assert int(calm_workspace.run(look, gid=20001).log()) >= 1
    assert calm_workspace.run(look, gid=20002).log() == b"0\n"
    calm_workspace.kill(secret)


def test_a_start_is_not_carried_over_to_the_next_life_of_a_container(workspace, docker_api):
    """Another worker restarted it, and may have forbidden this start in its earlier life."""
    workspace.run("true")
    start = workspace.prepare("echo late")
    docker_api.restart(workspace.container, timeout=0)
    with pytest.raises(EngineUnavailable, match="started again"):
        workspace.containers.start(workspace.container, start)
    assert workspace.containers.forbid(workspace.container, start.files.key)
    assert workspace.run("echo next").log() == b"next\n"
