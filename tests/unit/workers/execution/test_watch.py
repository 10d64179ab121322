"""What is done with a running process, by what is seen of it."""

from dataclasses import replace

import pytest

from relay_core.domain.limits import Limits
from relay_core.domain.vocabulary import Reason
from relay_workers.execution.watch import (
    FIRST_ASK_SECONDS,
    LONGEST_WAIT_SECONDS,
    TAIL_QUIET_SECONDS,
    Act,
    Decision,
    Look,
    decide,
)

QUIET = Look(
    ended=False,
    gone=False,
    log_ended=False,
    seconds_ended=0.0,
    kill_asked=False,
    lost=False,
    capture_stopped=None,
    capped=None,
    seconds_running=1.0,
    seconds_silent=1.0,
)
TAIL = 5.0
LIMITS = Limits(timeout_seconds=100, no_output_seconds=10)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({}, Decision(Act.WAIT, wait_seconds=9)),
        ({"ended": True}, Decision(Act.WAIT, wait_seconds=FIRST_ASK_SECONDS)),
        ({"ended": True, "seconds_ended": 0.125}, Decision(Act.WAIT, wait_seconds=0.125)),
        ({"ended": True, "seconds_ended": 0.125, "log_ended": True}, Decision(Act.DRAIN)),
        ({"ended": True, "seconds_ended": 0.25}, Decision(Act.WAIT, wait_seconds=TAIL_QUIET_SECONDS - 0.25)),
        ({"ended": True, "seconds_ended": 2.0}, Decision(Act.DRAIN)),
        (
            {"ended": True, "seconds_ended": 2.0, "seconds_silent": 0.0},
            Decision(Act.WAIT, wait_seconds=TAIL_QUIET_SECONDS),
        ),
        (
            {"ended": True, "seconds_ended": TAIL - 0.25, "seconds_silent": 0.0},
            Decision(Act.WAIT, wait_seconds=0.25),
        ),
        ({"ended": True, "seconds_ended": TAIL}, Decision(Act.DRAIN)),
        ({"ended": True, "gone": True}, Decision(Act.DRAIN)),
        ({"gone": True}, Decision(Act.DRAIN)),
        ({"kill_asked": True}, Decision(Act.STOP, Reason.USER)),
        ({"kill_asked": True, "ended": True}, Decision(Act.STOP, Reason.USER)),
        ({"lost": True, "kill_asked": True}, Decision(Act.LEAVE)),
        ({"capture_stopped": Reason.LOG_LIMIT}, Decision(Act.STOP, Reason.LOG_LIMIT)),
        ({"capped": Reason.DISK_LIMIT}, Decision(Act.STOP, Reason.DISK_LIMIT)),
        ({"capped": Reason.DISK_LIMIT, "gone": True}, Decision(Act.DRAIN)),
        ({"capped": Reason.DISK_LIMIT, "ended": True}, Decision(Act.WAIT, wait_seconds=FIRST_ASK_SECONDS)),
        ({"capped": Reason.DISK_LIMIT, "kill_asked": True}, Decision(Act.STOP, Reason.USER)),
        ({"seconds_running": 100.0}, Decision(Act.STOP, Reason.TIMEOUT)),
        ({"seconds_silent": 10.0}, Decision(Act.STOP, Reason.NO_OUTPUT)),
        ({"seconds_running": 100.0, "gone": True}, Decision(Act.DRAIN)),
    ],
)
def test_decisions(change, expected):
    assert decide(replace(QUIET, **change), LIMITS, has_deadline=True, tail_seconds=TAIL) == expected


def test_a_dev_server_has_no_clock():
    late = replace(QUIET, seconds_running=1e9, seconds_silent=1e9)
    assert decide(late, LIMITS, has_deadline=False, tail_seconds=TAIL) == Decision(
        Act.WAIT, wait_seconds=LONGEST_WAIT_SECONDS
    )


def test_silence_is_allowed_where_no_limit_is_set():
    quiet = replace(QUIET, seconds_silent=1e9)
    assert decide(quiet, Limits(timeout_seconds=100), has_deadline=True, tail_seconds=TAIL).act is Act.WAIT
