"""The contract of the container port, claimed by the fake and by the real engine alike."""

from dataclasses import replace
from threading import Event
from uuid import uuid4

import pytest

from relay_core.domain.errors import Conflict, StepFailed
from relay_core.domain.vocabulary import Reason, Stream
from relay_workers.containers.port import PullTerms, StepStart, identity_labels
from relay_workers.testing.scripted_step import ScriptedStep
from tests.support.engine_fixtures import UID
from tests.support.waiting import eventually

pytest_plugins = ["tests.support.containers_port"]

RUNS = ScriptedStep(exit_code=None)


def ended(engine, step):
    """The exit code of the exec, once the engine says that it has ended."""
    look = engine.containers.exec_state
    return eventually(lambda: (state := look(step.exec_id)) and not state.running and state, "it ended").exit_code


def start_of(run, gid=20001):
    return StepStart(run.container_path, f"{UID}:{gid}", "/workspace", {})


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


def test_programs_are_looked_for_on_the_path(engine):
    workspace = engine.workspace()

    def has(name: str, **env: str) -> bool:
        return engine.containers.has_program(workspace.container, name, f"{UID}:20001", env)

    assert has("python3")
    assert not has("no-such-program")
    assert not has("python3", PATH="/nowhere")


def test_a_container_that_is_gone(engine):
    containers, workspace = engine.containers, engine.workspace()
    run = engine.prepare(workspace)
    containers.remove(workspace.container)
    containers.remove(workspace.container)
    gone = workspace.container
    assert not containers.inspect(gone).exists
    containers.stop(gone)
    assert containers.kill_execution(gone, 20001, grace_seconds=0).remaining == 0
    assert containers.end_leftovers(gone, []).remaining == 0
    assert containers.layer_bytes(gone) == 0
    for act in (
        lambda: containers.start(gone, start_of(run)),
        lambda: containers.has_program(gone, "sh", f"{UID}:20001", {}),
        lambda: containers.leftover_names(gone, 20001),
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
    assert step.wait() == b"s"
    assert step.run.read_exit() is None
    state = containers.exec_state(step.exec_id)
    assert state is None or not state.running
    assert containers.kill_execution(stopped, step.gid, grace_seconds=0).remaining == 0
    assert containers.end_leftovers(stopped, []).remaining == 0
    run = engine.prepare(workspace)
    for act in (
        lambda: containers.start(stopped, start_of(run)),
        lambda: containers.has_program(stopped, "sh", f"{UID}:20001", {}),
        lambda: containers.leftover_names(stopped, step.gid),
    ):
        assert failure(act) == Reason.CONTAINER_MISSING
    assert run.declare_never_started()


def test_a_restart_ends_everything_in_a_container_that_runs_afterwards(engine):
    containers, workspace = engine.containers, engine.workspace()
    step = engine.start(workspace, RUNS)
    before = containers.inspect(workspace.container)
    containers.restart(workspace.container)
    after = containers.inspect(workspace.container)
    assert (after.running, after.started_at != before.started_at) == (True, True)
    assert step.wait() == b"s"
    assert step.run.read_exit() is None
    state = containers.exec_state(step.exec_id)
    assert state is None or not state.running
    assert containers.leftover_names(workspace.container, step.gid) == []
    assert engine.start(workspace, ScriptedStep(stdout="next"), gid=20002).wait().endswith(b"x")


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
    assert step.wait() == b"sx"
    assert step.run.has_started()
    assert step.log() == script.stdout.encode()
    assert step.log(Stream.STDERR) == script.stderr.encode()
    record = step.record()
    assert (record.code, record.drained, record.lost_output, record.late) == (script.exit_code, True, False, False)
    assert ended(engine, step) == script.exit_code
    assert not step.run.declare_never_started()


def test_a_step_that_runs(engine):
    step = engine.start(engine.workspace(), replace(RUNS, stdout="begun"))
    eventually(lambda: step.log() == b"begun", "it writes")
    state = engine.containers.exec_state(step.exec_id)
    assert (state.running, state.exit_code) == (True, None)
    assert step.run.read_exit() is None


def test_an_exec_that_the_engine_does_not_know(engine):
    assert engine.containers.exec_state("0" * 64) is None


def test_a_run_declared_never_started_does_not_start(engine):
    workspace = engine.workspace()
    run = engine.prepare(workspace, ScriptedStep(stdout="never"))
    assert run.declare_never_started()
    exec_id = engine.containers.start(workspace.container, start_of(run))
    eventually(lambda: not engine.containers.exec_state(exec_id).running, "its supervisor leaves")
    assert (workspace.path(run) / "stdout").read_bytes() == b""
    assert run.read_exit() is None
    assert not run.has_started()


def test_a_second_start_of_a_run_does_nothing(engine):
    workspace = engine.workspace()
    step = engine.start(workspace, ScriptedStep(stdout="once"))
    step.wait()
    exec_id = engine.containers.start(workspace.container, start_of(step.run))
    eventually(lambda: not engine.containers.exec_state(exec_id).running, "its supervisor leaves")
    assert step.log() == b"once"


def test_a_container_without_a_shell_starts_no_step(engine):
    workspace = engine.workspace()
    engine.break_shell(workspace)
    run = engine.prepare(workspace)
    assert failure(lambda: engine.containers.start(workspace.container, start_of(run))) == Reason.START_FAILED
    assert run.declare_never_started()


# ends


def test_a_step_that_obeys_term(engine):
    step = engine.start(engine.workspace(), replace(RUNS, stdout="whole"))
    eventually(lambda: step.log() == b"whole", "it writes")
    before = engine.now()
    result = engine.containers.kill_execution(step_container(engine), step.gid, grace_seconds=20)
    assert engine.now() - before < 10
    assert (result.remaining, result.restarted) == (0, False)
    assert step.wait() == b"sx"
    assert (step.record().code, step.record().drained) == (143, True)
    assert ended(engine, step) == 143
    assert step.log() == b"whole"


def step_container(engine) -> str:
    """The container of a test's only workspace."""
    (workspace,) = engine.made
    return workspace.container


def test_a_step_that_ends_in_its_own_way_on_term(engine):
    step = engine.start(engine.workspace(), replace(RUNS, stdout="ready", code_on_term=5))
    eventually(lambda: step.log() == b"ready", "its trap is set")
    assert engine.containers.kill_execution(step_container(engine), step.gid, grace_seconds=10).remaining == 0
    step.wait()
    assert step.record().code == 5


def test_a_step_that_ignores_term_is_killed_with_its_supervisor(engine):
    """It passes for a copier, which ignores TERM as well: so no record is written."""
    step = engine.start(engine.workspace(), replace(RUNS, stdout="ready", ignores_term=True))
    eventually(lambda: step.log() == b"ready", "its trap is set")
    before = engine.now()
    result = engine.containers.kill_execution(step_container(engine), step.gid, grace_seconds=0.5)
    assert engine.now() - before >= 0.5
    assert (result.remaining, result.restarted) == (0, False)
    assert step.wait() == b"s"
    assert step.run.read_exit() is None
    assert ended(engine, step) == 137


def test_nothing_to_end_is_no_error_and_takes_one_look(engine):
    workspace = engine.workspace()
    result = engine.containers.kill_execution(workspace.container, 29999, grace_seconds=10)
    assert (result.remaining, result.rounds, result.restarted) == (0, 1, False)


def test_only_the_execution_that_is_meant_is_ended(engine):
    workspace = engine.workspace()
    step, other = engine.start(workspace, RUNS, gid=20001), engine.start(workspace, RUNS, gid=20002)
    assert engine.containers.kill_execution(workspace.container, 20001, grace_seconds=0).remaining == 0
    step.wait()
    assert engine.containers.exec_state(other.exec_id).running
    assert other.run.read_exit() is None


def test_processes_that_a_step_leaves_are_named_and_ended(engine):
    workspace = engine.workspace()
    step = engine.start(workspace, ScriptedStep(leaves=("sleep", "sleep")))
    step.wait()
    assert step.record().drained
    eventually(lambda: names(engine, step) == ["sleep", "sleep"], "both sleep")
    assert engine.containers.leftover_names(workspace.container, 20002) == []
    assert engine.containers.kill_execution(workspace.container, step.gid, grace_seconds=0).remaining == 0
    assert names(engine, step) == []


def names(engine, step) -> list[str]:
    return engine.containers.leftover_names(step_container(engine), step.gid)


def test_a_background_process_with_the_log_outlives_the_record(engine):
    step = engine.start(engine.workspace(), ScriptedStep(leaves_log_held=True, exit_code=3))
    step.wait(b"x")
    assert (step.record().code, step.record().drained) == (3, False)
    assert engine.containers.exec_state(step.exec_id).running
    assert engine.containers.kill_execution(step_container(engine), step.gid, grace_seconds=0).remaining == 0
    step.wait()
    assert (step.record().code, step.record().drained) == (3, True)
    assert ended(engine, step) == 3


def test_a_process_of_root_that_changed_its_gid_is_a_leftover(engine):
    workspace = engine.workspace()
    server = engine.start(workspace, RUNS, gid=20002)
    step = engine.start(workspace, ScriptedStep(flees=True), gid=20001, uid=0)
    step.wait()
    eventually(lambda: engine.containers.leftover_names(workspace.container, 54000) == ["sleep"], "it sleeps")
    assert engine.containers.kill_execution(workspace.container, 20001, grace_seconds=0).remaining == 0
    assert engine.containers.leftover_names(workspace.container, 54000) == ["sleep"]
    result = engine.containers.end_leftovers(workspace.container, [20002])
    assert (result.remaining, result.restarted) == (0, False)
    assert engine.containers.leftover_names(workspace.container, 54000) == []
    assert engine.containers.exec_state(server.exec_id).running


def test_a_process_that_stays_costs_the_container_a_restart(engine):
    workspace = engine.workspace()
    step = engine.start(workspace, RUNS)
    before = engine.containers.inspect(workspace.container).started_at
    engine.break_shell(workspace)
    result = engine.containers.kill_execution(workspace.container, step.gid, grace_seconds=0)
    assert (result.remaining, result.restarted) == (0, True)
    assert step.wait() == b"s"
    assert step.run.read_exit() is None
    after = engine.containers.inspect(workspace.container)
    assert (after.running, after.started_at != before) == (True, True)
