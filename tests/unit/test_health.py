"""When a supervisor should start a worker anew."""

from relay_workers.doctor import judge_clock, judge_queue
from relay_workers.health import SLACK_SECONDS, Health, Tick, judge

FRESH = {"leases": Tick(1.0, 5.0, vital=True), "disk": Tick(1.0, 5.0, vital=False)}
LATE = 3 * 5.0 + SLACK_SECONDS + 0.1


def test_a_worker_whose_clocks_tick_is_well():
    assert judge(FRESH, pumping=True, redis_answers=True) == Health([], [])


def test_what_makes_a_worker_stuck_and_what_only_degraded():
    late = {name: tick._replace(age_seconds=LATE) for name, tick in FRESH.items()}
    assert judge(late, pumping=True, redis_answers=True) == Health(["leases"], ["disk"])
    assert judge(FRESH, pumping=False, redis_answers=False) == Health(["log pump"], ["redis"])


def test_the_doctor_tells_a_wrong_clock_and_a_long_queue():
    assert judge_clock(4.9).level == "ok"
    assert judge_clock(-7200.0).level == "warning"
    assert "-7200 s" in judge_clock(-7200.0).message
    assert (judge_queue("q", 999).level, judge_queue("q", 1000).level) == ("ok", "warning")
