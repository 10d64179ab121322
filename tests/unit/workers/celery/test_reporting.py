"""The end of an execution in Celery's terms."""

from uuid import UUID

import pytest

from relay_core.domain import execution as machine
from relay_core.domain.vocabulary import Reason
from relay_workers.celery.reporting import RunFailed, RunKilled, raise_for, result_text
from relay_workers.execution.outcome import Changes
from relay_workers.execution.runner import EndReport


@pytest.mark.parametrize("end", [None, machine.completed(0)])
def test_a_success_and_a_dev_server_that_answers_raise_nothing(end):
    raise_for(end)


@pytest.mark.parametrize(
    ("end", "error", "text"),
    [
        (machine.failed(Reason.EXIT_CODE, "it exited with 3", 3), RunFailed, "exit_code: it exited with 3"),
        (machine.killed("killed on request"), RunKilled, "killed on request"),
    ],
)
def test_other_ends_raise_what_flower_shows(end, error, text):
    with pytest.raises(error) as caught:
        raise_for(end)
    assert str(caught.value) == text


ID = UUID(int=7)


def test_a_result_says_status_changes_and_link():
    run = UUID(int=8)
    end = EndReport(ID, run, machine.completed(0), Changes(2, 4, 1))
    assert result_text(end, "http://here/") == f"completed, 2 files +4 -1, http://here/runs/{run}"
    failed = EndReport(ID, None, machine.failed(Reason.EXIT_CODE, "3", 3), None)
    assert result_text(failed, None) == f"failed, /executions/{ID}"
