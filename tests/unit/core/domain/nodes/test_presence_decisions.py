"""What is concluded about nodes, without a database."""

import pytest
from pydantic import ValidationError

from relay_core.domain.nodes import Bounds, closed_by_operator, end_of_lost_run, health
from relay_core.domain.vocabulary import Liveness, NodeHealth, Reason, Status
from relay_core.settings import Settings


@pytest.mark.parametrize("seconds", [(30, 30, 60), (15, 60, 60), (15, 60, 30)])
def test_the_silences_have_to_grow(seconds):
    with pytest.raises(ValueError, match="have to grow"):
        Bounds(*seconds)


def test_settings_that_do_not_grow_are_refused_by_name():
    with pytest.raises(ValidationError, match="node_offline_seconds"):
        Settings(node_degraded_seconds=90)
    assert Settings().presence == Bounds(15, 30, 60)


@pytest.mark.parametrize(
    ("engine", "free", "said"),
    [
        (True, 10, NodeHealth.OK),
        (True, 9, NodeHealth.DISK_PRESSURE),
        (True, None, NodeHealth.DISK_UNAVAILABLE),
        (False, None, NodeHealth.ENGINE_UNAVAILABLE),
        (False, 9, NodeHealth.ENGINE_UNAVAILABLE),
    ],
)
def test_a_node_says_the_worst_it_sees(engine, free, said):
    assert health(engine_answers=engine, free_bytes=free, min_free_bytes=10) is said


@pytest.mark.proves("T003-14")
def test_a_node_cannot_say_that_it_is_away():
    """T003-14: the words a node has for itself and those the server has for it share none."""
    assert not set(NodeHealth) & set(Liveness)


@pytest.mark.proves("T003-28")
def test_a_lost_run_failed_unless_somebody_had_asked_for_its_end():
    """T003-28."""
    lost, killed = end_of_lost_run("n1", None), end_of_lost_run("n1", "ann")
    assert (lost.target, lost.reason) == (Status.FAILED, Reason.NODE_LOST)
    assert (killed.target, killed.reason) == (Status.KILLED, Reason.USER)
    assert "ann" in killed.error_reason


def test_a_run_that_a_revoked_node_lost_says_so():
    lost = end_of_lost_run("n1", None, revoked=True)
    assert (lost.target, lost.reason) == (Status.FAILED, Reason.NODE_LOST)
    assert "node n1 is revoked, and its worker ended" in lost.error_reason


def test_revoked_says_more_than_draining():
    told = [closed_by_operator(draining=draining, revoked=revoked) for draining, revoked in ((0, 0), (1, 0), (1, 1))]
    assert told == [None, "draining", "revoked"]
