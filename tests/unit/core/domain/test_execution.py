"""The state machine, every status × every transition."""

from itertools import product

import pytest

from relay_core.domain import execution as machine
from relay_core.domain.execution import TRANSITIONS, IllegalTransition, Transition
from relay_core.domain.vocabulary import FINAL, Reason, Status

NAMED = [
    machine.claimed(),
    machine.refused(Reason.WORKSPACE_GONE, "gone"),
    machine.cancelled("killed by somebody"),
    machine.completed(0),
    machine.failed(Reason.EXIT_CODE, "exit code 7", 7),
    machine.killed("killed by somebody"),
]


@pytest.mark.parametrize(("source", "target"), list(product(Status, Status)))
def test_every_pair_is_legal_or_refused(source, target):
    reason = Reason.EXIT_CODE if target in {Status.FAILED, Status.KILLED} else None
    if (source, target) in TRANSITIONS:
        assert Transition(source, target, reason).final == (target in FINAL)
    else:
        with pytest.raises(IllegalTransition):
            Transition(source, target, reason)


def test_the_named_constructors_are_the_whole_table():
    assert {(step.source, step.target) for step in NAMED} == TRANSITIONS


def test_nothing_leaves_a_final_status():
    assert not [edge for edge in TRANSITIONS if edge[0] in FINAL]


@pytest.mark.parametrize("target", [Status.FAILED, Status.KILLED])
def test_an_unhappy_end_needs_a_reason(target):
    with pytest.raises(IllegalTransition, match="needs a reason"):
        Transition(Status.RUNNING, target)


def test_a_happy_end_has_none():
    with pytest.raises(IllegalTransition, match="has no reason"):
        Transition(Status.RUNNING, Status.COMPLETED, Reason.TIMEOUT)


def test_a_kill_before_the_end_was_written_decides_its_name_and_keeps_what_happened():
    done = machine.heeding_kill(machine.completed(0))
    assert (done.target, done.reason, done.exit_code) == (Status.KILLED, Reason.USER, 0)
    failed = machine.heeding_kill(machine.failed(Reason.TIMEOUT, "too long", 143))
    assert (failed.target, failed.exit_code) == (Status.KILLED, 143)
    assert "too long" in (failed.error_reason or "")
    assert machine.heeding_kill(machine.killed("by ann")) == machine.killed("by ann")
