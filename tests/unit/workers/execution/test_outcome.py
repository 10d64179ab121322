"""The end of a step that raised an error, as clients see it."""

import pytest

from relay_core.domain.errors import StepFailed
from relay_core.domain.vocabulary import Reason, Status
from relay_workers.containers.port import EngineUnavailable
from relay_workers.execution.outcome import as_failure, end_of

MISSING = StepFailed(Reason.SECRET_MISSING, "it was deleted")
AWAY = EngineUnavailable("no answer", retryable=True)


@pytest.mark.parametrize(
    ("error", "kill_asked", "target", "reason", "message"),
    [
        (MISSING, False, Status.FAILED, Reason.SECRET_MISSING, "it was deleted"),
        (MISSING, True, Status.KILLED, Reason.USER, "it was deleted"),
        (StepFailed(Reason.USER, "killed before it started"), False, Status.KILLED, Reason.USER, "killed before"),
        (AWAY, False, Status.FAILED, Reason.ENGINE_ERROR, "no answer"),
        (AWAY, True, Status.FAILED, Reason.ENGINE_ERROR, "no answer"),  # its processes may run: that is no kill
        (as_failure(AWAY), True, Status.KILLED, Reason.USER, "no answer"),  # a clone has no processes
        (RuntimeError("a detail"), False, Status.FAILED, Reason.INTERNAL_ERROR, "RuntimeError"),
        (RuntimeError("a detail"), True, Status.FAILED, Reason.INTERNAL_ERROR, "RuntimeError"),
    ],
)
def test_an_error_becomes_a_transition(error, kill_asked, target, reason, message):
    end = end_of(error, kill_asked=kill_asked)
    assert (end.target, end.reason) == (target, reason)
    assert message in end.error_reason
    assert "a detail" not in end.error_reason, "the text of an unknown error may hold a secret"
