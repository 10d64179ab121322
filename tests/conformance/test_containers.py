"""The contract of the container port, claimed by the fake and by the real engine alike."""

from dataclasses import replace
from queue import SimpleQueue
from threading import Event
from uuid import uuid4

import pytest

from relay_core.domain.errors import Conflict, RelayError, StepFailed
from relay_core.domain.vocabulary import Reason, Stream
from relay_workers.containers.pid1.answers import EndFlag, ExecutionStatus, How, State
from relay_workers.containers.port import PullTerms, identity_labels
from relay_workers.execution.exit_verdict import ExitVerdict
from relay_workers.testing.scripted_step import ScriptedStep
from tests.support.engine_fixtures import Step
from tests.support.waiting import eventually

pytest_plugins = ["tests.support.containers_port"]

RUNS = ScriptedStep(exit_code=None)


def failure(act) -> str:
    with pytest.raises(StepFailed) as caught:
        act()
    return caught.value.reason


def terms(judge=lambda: None, cancelled=False) -> PullTerms:
    event = Event()
    if cancelled:
        event.set()
    return PullTerms(judge, event, 5, "five", 1 << 30, 0)


# the engine and its images


def test_an_engine_tells_what_it_is(engine):
    info = engine.containers.info()
    assert info.version
    assert info.memory_bytes > 0
    architecture, processors = engine.containers.platform()
    assert architecture
    assert processors == info.cpus > 0


def test_an_image_that_is_here_is_described(engine):
    image = engine.containers.ensure_image(engine.new_spec().image)
    assert image.id.startswith("sha256:")
    assert "/usr/bin" in image.env["PATH"]
    assert (image.user, image.uid) == ("", None)


@pytest.mark.parametrize("name", ["relay-no-such-image:1", "not a reference"])
def test_without_terms_no_image_is_fetched(engine, name):
    assert failure(lambda: engine.containers.ensure_image(name)) == Reason.IMAGE_UNAVAILABLE


def test_a_registry_is_asked_only_after_it_was_judged(engine):
    def refuse() -> None:
        raise StepFailed(Reason.IMAGE_UNAVAILABLE, "a private address")

    with pytest.raises(StepFailed, match="a private address"):
        engine.containers.ensure_image("relay-no-such-image:1", terms(refuse))


def test_a_pull_that_is_cancelled_ends_as_killed(engine):
    act = lambda: engine.containers.ensure_image("relay-no-such-image:1", terms(cancelled=True))  # noqa: E731
    assert failure(act) == Reason.USER


# containers


def test_the_same_name_is_the_same_container_running_again(engine):
    workspace = engine.workspace()
    containers, spec = engine.containers, workspace.spec
    assert containers.ensure_container(spec) == workspace.container
    before = containers.inspect(workspace.container)
    assert (before.exists, before.running, before.exit_code) == (True, True, None)
    assert before.address
    assert spec.labels.items() <= before.labels.items()
    containers.stop(workspace.container)
    stopped = containers.inspect(spec.name)
    assert (stopped.exists, stopped.running, stopped.exit_code, stopped.address) == (True, False, 137, None)
    assert containers.ensure_container(spec) == workspace.container
    after = containers.inspect(workspace.container)
    assert after.running
    assert after.started_at != before.started_at


def test_a_name_with_other_labels_is_a_conflict(engine):
    spec = engine.workspace().spec
    with pytest.raises(Conflict) as caught:
        engine.containers.ensure_container(replace(spec, labels=identity_labels("test-node", "another")))
    assert caught.value.code == "container_name_taken"


def test_a_container_without_its_image_is_not_made(engine):
    spec = replace(engine.new_spec(), image=f"relay-no-such-{uuid4().hex}:1")
    assert failure(lambda: engine.containers.ensure_container(spec)) == Reason.IMAGE_UNAVAILABLE
    assert not engine.containers.inspect(spec.name).exists


def test_a_mount_without_its_source_leaves_no_container(engine):
    spec = engine.new_spec()
    spec = replace(spec, workspace_dir=spec.workspace_dir / "absent")
    assert failure(lambda: engine.containers.ensure_container(spec)) == Reason.ENGINE_ERROR
    assert not engine.containers.inspect(spec.name).exists


def test_containers_of_a_node_are_listed_whether_they_run_or_not(engine):
    workspace = engine.workspace()

    def found():
        return [
            (each.name, each.running)
            for each in engine.containers.list_ours("test-node")
            if each.id == workspace.container
        ]

    assert found() == [(workspace.spec.name, True)]
    engine.containers.stop(workspace.container)
    assert found() == [(workspace.spec.name, False)]
    assert engine.containers.list_ours(f"other-{uuid4()}") == []
    engine.containers.remove(workspace.container)
    assert found() == []


def test_a_container_that_is_gone(engine):
    containers, workspace = engine.containers, engine.workspace()
    start = engine.prepare(workspace)
    containers.remove(workspace.container)
    containers.remove(workspace.container)
    gone = workspace.container
    assert not containers.inspect(gone).exists
    containers.stop(gone)
    assert containers.kill_execution(gone, start.files.key, grace_seconds=0).remaining == 0
    assert containers.layer_bytes(gone) == 0
    for act in (
        lambda: containers.start(gone, start),
        lambda: containers.forbid(gone, start.files.key),
        lambda: containers.leftover_names(gone, start.files.key),
        lambda: containers.storage(gone),
        lambda: containers.restart(gone),
    ):
        assert failure(act) == Reason.CONTAINER_MISSING


def test_a_container_that_is_stopped(engine):
    containers, workspace = engine.containers, engine.workspace()
    step = engine.start(workspace, RUNS)
    stopped = workspace.container
    containers.stop(stopped)
    containers.stop(stopped)
    record = step.wait()
    assert (record.ended, record.drained) == (None, None)
    assert step.verdict().reason is Reason.CONTAINER_MISSING
    assert workspace.kill(step).remaining == 0
    start = engine.prepare(workspace)
    for act in (
        lambda: containers.start(stopped, start),
        lambda: containers.forbid(stopped, start.files.key),
        lambda: containers.leftover_names(stopped, step.files.key),
    ):
        assert failure(act) == Reason.CONTAINER_MISSING


def test_a_restart_ends_everything_in_a_container_that_runs_afterwards(engine):
    containers, workspace = engine.containers, engine.workspace()
    step = engine.start(workspace, RUNS)
    before = containers.inspect(workspace.container)
    containers.restart(workspace.container)
    after = containers.inspect(workspace.container)
    assert (after.running, after.started_at != before.started_at) == (True, True)
    assert step.verdict().reason is Reason.CONTAINER_MISSING
    assert containers.leftover_names(workspace.container, step.files.key) == []
    assert engine.start(workspace, ScriptedStep(stdout="next"), gid=20002).verdict() == ExitVerdict(0, None)


# steps


@pytest.mark.parametrize(
    "script",
    [
        ScriptedStep(),
        ScriptedStep(stdout="a line\n", stderr="another\n"),
        ScriptedStep(stdout="no end", exit_code=7),
        ScriptedStep(exit_code=143),
    ],
)
def test_a_step_from_start_to_end(engine, script):
    step = engine.start(engine.workspace(), script)
    record = step.wait()
    assert record.started
    assert (record.ended.how, record.ended.value, record.ended.flags) == (How.EXITED, script.exit_code, EndFlag(0))
    assert (record.drained.stdout.dropped, record.drained.stderr.dropped) == (0, 0)
    assert step.verdict().exit_code == script.exit_code
    assert step.log() == script.stdout.encode()
    assert step.log(Stream.STDERR) == script.stderr.encode()
    assert not engine.containers.forbid(step_container(engine), step.files.key)


def test_a_step_that_runs(engine):
    step = engine.start(engine.workspace(), replace(RUNS, stdout="begun"))
    eventually(lambda: step.log() == b"begun", "it writes")
    eventually(lambda: step.record.started, "its record says so")
    assert step.record.ended is None
    assert step.over() is None


def test_a_start_that_was_forbidden_does_not_happen(engine):
    workspace = engine.workspace()
    start = engine.prepare(workspace, ScriptedStep(stdout="never"))
    assert engine.containers.forbid(workspace.container, start.files.key)
    assert engine.containers.forbid(workspace.container, start.files.key)
    with pytest.raises(Conflict) as caught:
        engine.containers.start(workspace.container, start)
    assert caught.value.code == "start_forbidden"
    record = start.files.read_record()
    assert (record.started, record.ended) == (None, None)


def test_a_start_happens_once(engine):
    workspace = engine.workspace()
    start = engine.prepare(workspace, ScriptedStep(stdout="once"))
    engine.containers.start(workspace.container, start)
    step = Step(start.files, start.gid)
    step.wait()
    with pytest.raises(Conflict) as caught:
        engine.containers.start(workspace.container, start)
    assert caught.value.code == "already_started"
    assert step.log() == b"once"


def test_a_container_without_a_shell_starts_no_script(engine):
    workspace = engine.workspace()
    engine.break_shell(workspace)
    assert failure(lambda: engine.containers.start(workspace.container, engine.prepare(workspace))) == (
        Reason.START_FAILED
    )


# ends


def step_container(engine) -> str:
    """The container of a test's only workspace."""
    (workspace,) = engine.made
    return workspace.container


def kill(engine, step, grace_seconds=0):
    (workspace,) = engine.made
    return workspace.kill(step, grace_seconds)


def test_a_step_that_obeys_term(engine):
    step = engine.start(engine.workspace(), replace(RUNS, stdout="whole"))
    eventually(lambda: step.log() == b"whole", "it writes")
    before = engine.now()
    result = kill(engine, step, grace_seconds=20)
    assert engine.now() - before < 10
    assert (result.remaining, result.restarted) == (0, False)
    ended = step.wait().ended
    assert (ended.how, ended.value, ended.flags) == (How.SIGNALLED, 15, EndFlag.KILL_ASKED)
    assert step.verdict().exit_code == 143
    assert step.log() == b"whole"


def test_a_step_that_ends_in_its_own_way_on_term(engine):
    step = engine.start(engine.workspace(), replace(RUNS, stdout="ready", code_on_term=5))
    eventually(lambda: step.log() == b"ready", "its trap is set")
    assert kill(engine, step, grace_seconds=10).remaining == 0
    assert step.verdict().exit_code == 5


def test_a_step_that_ignores_term_is_killed(engine):
    step = engine.start(engine.workspace(), replace(RUNS, stdout="ready", ignores_term=True))
    eventually(lambda: step.log() == b"ready", "its trap is set")
    before = engine.now()
    result = kill(engine, step, grace_seconds=0.5)
    assert engine.now() - before >= 0.5
    assert (result.remaining, result.restarted) == (0, False)
    ended = step.wait().ended
    assert (ended.how, ended.value) == (How.SIGNALLED, 9)
    assert EndFlag.KILL_SENT in ended.flags
    assert step.verdict().exit_code == 137


def test_nothing_to_end_is_no_error(engine):
    workspace = engine.workspace()
    unknown = engine.prepare(workspace).files.key
    result = engine.containers.kill_execution(workspace.container, unknown, grace_seconds=10)
    assert (result.remaining, result.rounds, result.restarted) == (0, 0, False)


def test_only_the_execution_that_is_meant_is_ended(engine):
    workspace = engine.workspace()
    step, other = engine.start(workspace, RUNS, gid=20001), engine.start(workspace, RUNS, gid=20002)
    assert workspace.kill(step).remaining == 0
    step.wait()
    assert other.over() is None
    assert other.record.ended is None


def test_processes_that_a_step_leaves_are_named_and_ended(engine):
    workspace = engine.workspace()
    step = engine.start(workspace, ScriptedStep(leaves=("sleep", "sleep")))
    step.exited()
    eventually(lambda: names(engine, step) == ["sleep", "sleep"], "both sleep")
    assert step.over() is None
    assert workspace.kill(step).remaining == 0
    assert names(engine, step) == []
    assert step.verdict() == ExitVerdict(0, None)


def names(engine, step) -> list[str]:
    return engine.containers.leftover_names(step_container(engine), step.files.key)


def test_a_background_process_with_the_log_outlives_the_exit(engine):
    step = engine.start(engine.workspace(), ScriptedStep(leaves_log_held=True, exit_code=3))
    step.exited()
    assert step.over() is None
    assert kill(engine, step).remaining == 0
    step.wait()
    assert step.verdict() == ExitVerdict(3, Reason.EXIT_CODE)


def test_a_process_of_root_that_changed_its_gid_belongs_to_its_execution(engine):
    workspace = engine.workspace()
    server = engine.start(workspace, RUNS, gid=20002)
    step = engine.start(workspace, ScriptedStep(flees=True), gid=20001, uid=0)
    step.exited()
    eventually(lambda: names(engine, step) == ["sleep"], "it sleeps")
    result = workspace.kill(step)
    assert (result.remaining, result.restarted) == (0, False)
    assert names(engine, step) == []
    assert server.over() is None


# what the container's first process tells


def test_a_running_container_answers(engine):
    workspace = engine.workspace()
    assert engine.containers.answers(workspace.container)
    engine.containers.stop(workspace.container)
    assert not engine.containers.answers(workspace.container)
    assert not engine.containers.answers("relay-no-such-container")


def test_the_end_of_a_step_is_told_and_the_end_of_its_log(engine):
    workspace = engine.workspace()
    step = engine.start(workspace, ScriptedStep(stdout="a line\n", exit_code=3))
    heard: SimpleQueue[ExecutionStatus] = SimpleQueue()
    forget = engine.containers.watch(workspace.container, step.files.key, heard.put)
    told = [heard.get(timeout=20), heard.get(timeout=20)]
    assert told[1].state is State.DRAINED
    assert {(status.key, status.how, status.value) for status in told} == {(step.files.key, How.EXITED, 3)}
    forget()
    forget()
    assert heard.empty()


def test_a_process_without_the_log_does_not_hold_its_end_up(engine):
    workspace = engine.workspace()
    step = engine.start(workspace, ScriptedStep(leaves=("sleep",)))
    step.exited()
    status = lambda: engine.containers.status(workspace.container, step.files.key)  # noqa: E731
    eventually(lambda: (now := status()).stdout.ended and now.stderr.ended, "the log ends")
    assert status().state is State.ENDED
    assert kill(engine, step).remaining == 0


def test_a_process_with_the_log_does(engine):
    workspace = engine.workspace()
    step = engine.start(workspace, ScriptedStep(leaves_log_held=True))
    step.exited()
    assert not engine.containers.status(workspace.container, step.files.key).stdout.ended
    assert kill(engine, step).remaining == 0


def test_the_status_of_a_step_that_was_never_started(engine):
    workspace = engine.workspace()
    unknown = engine.prepare(workspace).files.key
    with pytest.raises(RelayError):
        engine.containers.status(workspace.container, unknown)
    engine.containers.watch(workspace.container, unknown, lambda _: None)()
