"""The one backoff: growing pauses, errors that are not retried, and cancellation between two tries."""

import itertools
import threading

import pytest

from relay_core.retry import Backoff, until_available

BACKOFF = Backoff(0.1, 0.5)


class AwayError(Exception):
    pass


class CancelledError(Exception):
    pass


def failing(times: int, error: Exception):
    left = iter(range(times))

    def call() -> str:
        if next(left, None) is not None:
            raise error
        return "answer"

    return call


def is_away(error: Exception) -> bool:
    return isinstance(error, AwayError)


def ignore(error: Exception, pause: float) -> None:
    pass


def test_pauses_double_up_to_the_last():
    assert list(itertools.islice(BACKOFF.pauses(), 5)) == pytest.approx([0.1, 0.2, 0.4, 0.5, 0.5])


def test_a_call_is_repeated_until_it_answers_and_each_pause_is_reported_before_it():
    seen = []
    answer = until_available(
        failing(3, AwayError()),
        BACKOFF,
        is_retryable=is_away,
        report=lambda error, pause: seen.append((type(error), pause)),
        wait=seen.append,
    )
    assert answer == "answer"
    assert seen == [(AwayError, 0.1), 0.1, (AwayError, 0.2), 0.2, (AwayError, 0.4), 0.4]


def test_an_answer_at_once_waits_for_nothing():
    waited = []
    until_available(failing(0, AwayError()), BACKOFF, is_retryable=is_away, report=ignore, wait=waited.append)
    assert waited == []


def test_another_error_is_raised_at_once():
    waited = []
    with pytest.raises(ValueError, match="wrong"):
        until_available(
            failing(1, ValueError("wrong")), BACKOFF, is_retryable=is_away, report=ignore, wait=waited.append
        )
    assert waited == []


def test_an_error_of_the_wait_ends_the_repetition():
    def wait(seconds: float) -> None:
        raise CancelledError

    with pytest.raises(CancelledError):
        until_available(failing(9, AwayError()), BACKOFF, is_retryable=is_away, report=ignore, wait=wait)


def test_a_set_event_cuts_the_pauses_short():
    gone = threading.Event()
    gone.set()
    slow = Backoff(3600, 3600)
    assert (
        until_available(failing(5, AwayError()), slow, is_retryable=is_away, report=ignore, wait=gone.wait) == "answer"
    )
