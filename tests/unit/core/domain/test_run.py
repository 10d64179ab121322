"""The state of a run follows from its executions."""

from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest

from relay_core.domain.run import Member, conclusion_of, state_of, title_of
from relay_core.domain.vocabulary import Conclusion, Reason, RunStatus, Status

START = datetime(2026, 1, 1, tzinfo=UTC)


def at(second: int) -> datetime:
    return START + timedelta(seconds=second)


def member(number: int, status: Status, reason: Reason | None = None, *, end: int = 0, repeats: int = 0) -> Member:
    """Execution `number`, created in that second and claimed half a second later unless it is queued."""
    started = None if status is Status.QUEUED else at(number) + timedelta(milliseconds=500)
    ended = at(end or number + 1) if status.final else None
    return Member(UUID(int=number), status, reason, UUID(int=repeats) if repeats else None, at(number), started, ended)


def test_a_run_is_queued_until_an_execution_was_claimed_and_runs_until_none_is_active():
    assert state_of([member(1, Status.QUEUED)]).status is RunStatus.QUEUED
    running = state_of([member(1, Status.COMPLETED), member(2, Status.QUEUED)])
    assert (running.status, running.conclusion, running.completed_at) == (RunStatus.RUNNING, None, None)
    done = state_of([member(1, Status.COMPLETED), member(2, Status.COMPLETED)])
    assert (done.status, done.conclusion, done.deciding) == (RunStatus.COMPLETED, Conclusion.SUCCESS, None)
    assert (done.started_at, done.completed_at) == (at(1) + timedelta(milliseconds=500), at(3))


def test_the_first_execution_that_ended_without_completing_decides():
    late = member(1, Status.KILLED, Reason.USER, end=9)
    early = member(2, Status.FAILED, Reason.TIMEOUT, end=5)
    done = state_of([late, early])
    assert (done.conclusion, done.deciding) == (Conclusion.TIMED_OUT, early.id)


def test_a_retry_takes_the_place_of_the_execution_that_it_repeats():
    failed = member(1, Status.FAILED, Reason.EXIT_CODE)
    assert state_of([failed, member(2, Status.QUEUED, repeats=1)]).status is RunStatus.RUNNING
    assert state_of([failed, member(2, Status.COMPLETED, repeats=1)]).conclusion is Conclusion.SUCCESS
    again = state_of([failed, member(2, Status.FAILED, Reason.NODE_LOST, repeats=1)])
    assert (again.conclusion, again.deciding) == (Conclusion.LOST, UUID(int=2))


def test_an_execution_that_repeats_one_of_another_run_supersedes_none_here():
    assert state_of([member(5, Status.COMPLETED, repeats=1)]).conclusion is Conclusion.SUCCESS


def test_a_run_that_was_killed_in_the_queue_never_started():
    queued = Member(UUID(int=1), Status.KILLED, Reason.USER, None, at(1), None, at(2))
    assert state_of([queued]).started_at is None
    assert state_of([queued]).conclusion is Conclusion.CANCELLED


@pytest.mark.parametrize("reason", Reason)
def test_every_reason_leads_to_a_conclusion_other_than_success(reason):
    assert conclusion_of(reason) is not Conclusion.SUCCESS


def test_a_title_is_the_first_line_that_is_not_blank():
    assert title_of("\n  Add a test  \nmore") == "Add a test"
    assert title_of(" \n ") == "untitled"
    assert title_of("x" * 100) == "x" * 79 + "…"
