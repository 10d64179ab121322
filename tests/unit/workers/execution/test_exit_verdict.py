"""The end of a step, as its record tells it."""

from uuid import UUID

import pytest

from relay_core.domain.vocabulary import Reason
from relay_workers.containers.pid1.answers import EndFlag, How, Stream
from relay_workers.containers.pid1.messages import Key, Stage
from relay_workers.containers.pid1.record import Drained, Ended, Record, Started
from relay_workers.execution.exit_verdict import ExitVerdict, judge_end, lost_output

KEY = Key(UUID(int=7), 1)
NO_FLAGS = EndFlag(0)


def record(
    how: How, value: int = 0, flags: EndFlag = NO_FLAGS, *, before: int | None = 0, after: int | None = 0
) -> Record:
    return Record(KEY, Started(7, 0, 0, before), Ended(how, value, Stage.NONE, flags, 0, 0, after))


@pytest.mark.parametrize(
    ("seen", "end"),
    [
        (record(How.EXITED, 0), ExitVerdict(0, None)),
        (record(How.EXITED, 3), ExitVerdict(3, Reason.EXIT_CODE)),
        (record(How.SIGNALLED, 15), ExitVerdict(143, Reason.EXIT_CODE)),
        (record(How.SIGNALLED, 9, after=1), ExitVerdict(137, Reason.OOM)),
        (record(How.EXITED, 137, after=1), ExitVerdict(137, Reason.OOM)),  # the shell of a killed program
        (record(How.SIGNALLED, 9, before=1, after=1), ExitVerdict(137, Reason.EXIT_CODE)),
        (record(How.SIGNALLED, 9, before=None, after=1), ExitVerdict(137, Reason.EXIT_CODE)),  # unknown is not 0
        (record(How.SIGNALLED, 9, after=None), ExitVerdict(137, Reason.EXIT_CODE)),
        (record(How.SIGNALLED, 9, EndFlag.KILL_SENT, after=1), ExitVerdict(137, Reason.EXIT_CODE)),
        (record(How.EXITED, 1, after=1), ExitVerdict(1, Reason.EXIT_CODE)),  # it survived the end of a child
        (record(How.SIGNALLED, 15, EndFlag.DEADLINE_PASSED), ExitVerdict(143, Reason.TIMEOUT)),
        (record(How.SUPERVISOR_LOST), ExitVerdict(None, Reason.SUPERVISOR_LOST)),
        (record(How.START_FAILED, 2), ExitVerdict(None, Reason.START_FAILED)),
        (Record(KEY), ExitVerdict(None, Reason.CONTAINER_MISSING)),
        (None, ExitVerdict(None, Reason.CONTAINER_MISSING)),
    ],
)
def test_the_end_of_a_step(seen, end):
    assert judge_end(seen, over=True) == end


def test_an_end_that_is_not_recorded_yet_is_unknown():
    assert judge_end(Record(KEY), over=False) == ExitVerdict(None, Reason.INTERNAL_ERROR)


@pytest.mark.parametrize("dropped", [(0, 0), (1, 0), (0, 1)])
def test_dropped_bytes_are_lost_output(dropped):
    stdout, stderr = (Stream(10, count, 28 if count else 0, ended=True) for count in dropped)
    assert lost_output(Record(KEY, drained=Drained(stdout, stderr))) is any(dropped)
    assert not lost_output(Record(KEY))
    assert not lost_output(None)
