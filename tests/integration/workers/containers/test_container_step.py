"""Steps in a real container: started once, captured whole, judged right."""

import os

import pytest

from relay_core.domain.errors import StepFailed
from relay_core.domain.vocabulary import Reason, Stream
from relay_workers.containers.port import ExecState, StepStart
from relay_workers.execution.exit_verdict import ExitVerdict, judge_end
from relay_workers.host_files.safe_dir import TamperedFile
from tests.support.engine_fixtures import UID
from tests.support.waiting import eventually

pytest_plugins = ["tests.support.engine_fixtures"]
pytestmark = pytest.mark.docker


def ended(workspace, step):
    """How the engine says that a step ended."""
    return eventually(
        lambda: (state := workspace.containers.exec_state(step.exec_id)) and not state.running and state,
        "the exec ended",
    )


def judged(workspace, step):
    return judge_end(step.run.read_exit(), ended(workspace, step).exit_code, supervisor_alive=False)


def test_a_step_from_start_to_end(workspace):
    step = workspace.start(
        'cat; echo "$GREETING $(id -u) $(id -g) $PWD" >&2; exit 7', stdin=b"in", env={"GREETING": "hi"}
    )
    assert step.run.has_started()
    assert b"x" in step.wait()
    assert step.log() == b"in"
    assert step.log(Stream.STDERR) == b"hi %d 20001 /workspace\n" % UID
    assert ended(workspace, step) == ExecState(running=False, exit_code=7)
    assert judged(workspace, step) == ExitVerdict(7, Reason.EXIT_CODE)
    assert workspace.containers.exec_state("0" * 64) is None
    step.run.remove()
    assert list((step.run.workspace_dir / "runs").iterdir()) == []


def test_an_exec_that_fails_has_never_started(workspace):
    workspace.run("rm /bin/sh", uid=0)
    run = workspace.prepare("echo never")
    with pytest.raises(StepFailed) as caught:
        workspace.containers.start(workspace.container, StepStart(run.container_path, f"{UID}:20001", "/", {}))
    assert caught.value.reason == Reason.START_FAILED
    assert run.declare_never_started()
    assert not run.has_started()


def test_a_run_declared_never_started_does_not_start(workspace):
    run = workspace.prepare("echo never")
    assert run.declare_never_started()
    exec_id = workspace.containers.start(
        workspace.container, StepStart(run.container_path, f"{UID}:20001", "/workspace", {})
    )
    eventually(lambda: not workspace.containers.exec_state(exec_id).running, "the supervisor left")
    assert (workspace.path(run) / "stdout").read_bytes() == b""
    assert run.read_exit() is None


def test_a_second_start_of_a_run_does_nothing(workspace):
    step = workspace.run("echo once")
    user = f"{UID}:20001"
    exec_id = workspace.containers.start(
        workspace.container, StepStart(step.run.container_path, user, "/workspace", {})
    )
    eventually(lambda: not workspace.containers.exec_state(exec_id).running, "the supervisor left")
    assert step.log() == b"once\n"


def test_100_mb_without_a_newline(workspace):
    step = workspace.run("head -c 100000000 /dev/zero")
    assert workspace.path(step.run).joinpath("stdout").stat().st_size == 100_000_000
    assert step.record().drained


def test_64_mib_on_both_streams(workspace):
    data = os.urandom(32 << 20)
    (workspace.spec.workspace_dir / "data").write_bytes(data)
    step = workspace.run("tee /dev/stderr <data; echo end >/dev/stderr")
    assert step.log() == data
    assert step.log(Stream.STDERR) == data + b"end\n"


def test_root_and_who_it_becomes_write_to_the_same_log(workspace):
    step = workspace.run(
        "echo root >/dev/stderr; setpriv --reuid 33 --regid 33 --clear-groups sh -c 'echo 33 >/dev/stderr'", uid=0
    )
    assert step.log(Stream.STDERR) == b"root\n33\n"
    assert step.record().code == 0


def test_a_killed_supervisor_is_lost(workspace):
    step = workspace.run("kill -9 $PPID; sleep 0.2")
    assert judged(workspace, step).reason is Reason.SUPERVISOR_LOST


def test_the_kernel_ending_a_step_for_memory_is_oom(workspace):
    step = workspace.run("exec python3 -c 'x = bytearray(1 << 30)'")
    record = step.record()
    assert record.oom_killed
    assert judged(workspace, step) == ExitVerdict(137, Reason.OOM)
    later = workspace.run("kill -9 $$")
    assert judged(workspace, later) == ExitVerdict(137, Reason.EXIT_CODE)


@pytest.mark.parametrize(
    "script",
    [
        "rm exit; ln -s /etc/passwd exit; kill -9 $PPID",
        "rm exit; mkfifo exit; kill -9 $PPID",
        "truncate -s 1T exit; kill -9 $PPID",
        "printf 'code=zero\\nend\\n' >exit; kill -9 $PPID",
        "rm exit",
    ],
)
def test_an_exit_record_that_is_none_is_tampering(workspace, script):
    step = workspace.run(f'cd "$RUN"; {script}'.replace("$RUN", "/workspace/runs/$(ls /workspace/runs)/1"))
    with pytest.raises(TamperedFile):
        step.run.read_exit()


def test_a_forged_record_does_not_beat_the_engine(workspace):
    step = workspace.run(
        "cd /workspace/runs/*/1; printf 'code=0\\nend\\ndrained\\n' >mine; (sleep 0.3; cp mine exit) & exit 9"
    )
    assert judged(workspace, step).exit_code == 9


def test_other_executions_of_the_workspace_do_not_see_the_environment(workspace):
    secret = workspace.start("exec sleep 60", gid=20001, env={"SECRET": "hush"})
    look = "grep -l SECRET=hush /proc/[0-9]*/environ 2>/dev/null | wc -l"
    assert int(workspace.run(look, gid=20001).log()) >= 1
    assert workspace.run(look, gid=20002).log() == b"0\n"
    workspace.containers.kill_execution(workspace.container, secret.gid, grace_seconds=0)
