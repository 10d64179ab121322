"""An engine that gives no answer: the same errors, and the same effects, of the fake and of the real one."""

import threading

import pytest

from relay_workers.containers.port import EngineUnavailable
from relay_workers.testing.scripted_step import ScriptedStep
from tests.support.waiting import eventually

pytest_plugins = ["tests.support.containers_port"]

BACK_SECONDS = 0.3


def silent(act) -> None:
    """The engine gave no answer, and asking again may help."""
    with pytest.raises(EngineUnavailable) as caught:
        act()
    assert (caught.value.silent, caught.value.retryable) == (True, True)


def repeated(containers, workspace):
    """Verbs that the adapter repeats, so that a short silence is not noticed."""
    container = workspace.container
    return {
        "ensure_image": lambda: containers.ensure_image(workspace.spec.image),
        "ensure_container": lambda: containers.ensure_container(workspace.spec),
        "inspect": lambda: containers.inspect(container),
        "list_ours": lambda: containers.list_ours("test-node"),
        "platform": containers.platform,
        "stop": lambda: containers.stop(container),
        "restart": lambda: containers.restart(container),
        "remove": lambda: containers.remove(container),
    }


def asked_once(containers, workspace):
    """Verbs whose error reaches the caller at once."""
    container = workspace.container
    return {
        "info": containers.info,
        "storage": lambda: containers.storage(container),
        "layer_bytes": lambda: containers.layer_bytes(container),
    }


def test_every_verb_of_the_engine_says_that_it_is_silent(engine):
    workspace = engine.workspace()
    started_at = engine.containers.inspect(workspace.container).started_at
    engine.silence()
    verbs = repeated(engine.containers, workspace) | asked_once(engine.containers, workspace)
    for act in verbs.values():
        silent(act)
    engine.answer()
    state = engine.containers.inspect(workspace.container)
    assert (state.running, state.started_at) == (True, started_at), "nothing was carried out"


def test_steps_start_and_end_without_the_engine(engine):
    workspace = engine.workspace()
    engine.silence()
    step = engine.start(workspace, ScriptedStep(stdout="alone", leaves=("sleep",)))
    step.exited()
    eventually(lambda: engine.containers.leftover_names(workspace.container, step.files.key) == ["sleep"], "it sleeps")
    assert not engine.containers.forbid(workspace.container, step.files.key)
    assert workspace.kill(step).remaining == 0
    step.wait()
    assert step.log() == b"alone"


def test_a_short_silence_is_waited_through_where_a_verb_may_be_repeated(patient_engine):
    engine = patient_engine
    workspace = engine.workspace()
    for act in repeated(engine.containers, workspace).values():
        engine.silence()
        back = threading.Timer(BACK_SECONDS, engine.answer)
        back.start()
        act()
        back.join()
    assert not engine.containers.inspect(workspace.container).exists


def test_a_silence_is_not_waited_through_by_verbs_that_are_asked_once(patient_engine):
    engine = patient_engine
    workspace = engine.workspace()
    engine.silence()
    for act in asked_once(engine.containers, workspace).values():
        silent(act)


@pytest.mark.parametrize("verb", ["stop", "remove"])
@pytest.mark.parametrize("lost", ["request", "answer"])
def test_an_end_of_a_container_whose_answer_is_lost_is_carried_out(engine, verb, lost):
    workspace = engine.workspace()
    (engine.lose_request if lost == "request" else engine.lose_answer)(verb)
    silent(lambda: getattr(engine.containers, verb)(workspace.container))
    engine.answer()
    state = engine.containers.inspect(workspace.container)
    if lost == "request":
        assert state.running
    elif verb == "stop":
        assert (state.exists, state.running) == (True, False)
    else:
        assert not state.exists
    getattr(engine.containers, verb)(workspace.container)
    assert not engine.containers.inspect(workspace.container).running


@pytest.mark.parametrize("lost", ["request", "answer"])
def test_a_container_whose_making_is_not_confirmed_is_made_once(engine, lost):
    spec = engine.new_spec()
    (engine.lose_request if lost == "request" else engine.lose_answer)("ensure_container")
    silent(lambda: engine.containers.ensure_container(spec))
    engine.answer()
    first = engine.containers.ensure_container(spec)
    assert engine.containers.ensure_container(spec) == first
    assert engine.containers.inspect(first).running
    assert [each.id for each in engine.containers.list_ours("test-node") if each.name == spec.name] == [first]
    engine.containers.remove(first)
