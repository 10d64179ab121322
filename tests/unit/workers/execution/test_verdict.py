"""The end of a step that was stopped, as clients see it."""

from types import SimpleNamespace

from relay_core.domain.limits import Limits
from relay_core.domain.vocabulary import Reason, Status
from relay_workers.execution.step_finisher import StepEnd
from relay_workers.execution.verdict import transition_of
from relay_workers.maintenance.disk_pressure import LARGEST_RAW_LOG

STEP = SimpleNamespace(place=SimpleNamespace(workspace=SimpleNamespace(row=SimpleNamespace(limits=Limits()))))


def ended(reason, message=None):
    transition = transition_of(SimpleNamespace(), STEP, StepEnd(137, reason, None, False, message=message))
    assert (transition.target, transition.reason, transition.exit_code) == (Status.FAILED, reason, 137)
    return transition.error_reason


def test_a_step_that_was_chosen_for_its_logs_is_not_said_to_have_grown():
    said = ended(Reason.DISK_PRESSURE, LARGEST_RAW_LOG)
    assert "had the largest raw logs" in said
    assert "grew most" not in said


def test_without_a_message_of_its_own_the_reason_has_one():
    assert ended(Reason.DISK_PRESSURE) == "the node's disk was nearly full; free space there"
    assert ended(Reason.OOM).startswith(f"it used more than limits.memory_bytes ({Limits().memory_bytes} bytes)")
