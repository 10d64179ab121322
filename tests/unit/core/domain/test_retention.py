"""Which partitions of logs are dropped, as a table and as properties."""

from datetime import date, timedelta

from hypothesis import given
from hypothesis import strategies as st

from relay_core.domain.retention import Cause, Kept, Limits, Partition, to_drop

TODAY = date(2026, 11, 25)
MONDAY = date(2026, 11, 23)
WEEK = timedelta(days=7)


def week(ago: int, size: int = 10) -> Partition:
    starts = MONDAY - ago * WEEK
    return Partition(f"w{ago}", starts, starts + WEEK, size)


WEEKS = [week(ago) for ago in (5, 4, 3, 2, 1, 0, -1)]


NOTHING = Kept()


def dropped(limits: Limits, kept: Kept = NOTHING) -> list[tuple[str, Cause]]:
    return [(one.name, cause) for one, cause in to_drop(WEEKS, TODAY, limits, kept)]


def test_without_limits_everything_is_kept():
    assert dropped(Limits()) == []


def test_a_week_is_old_when_its_last_day_is_so_many_days_ago():
    assert dropped(Limits(days=17)) == [("w5", Cause.AGE), ("w4", Cause.AGE)]
    assert [name for name, _ in dropped(Limits(days=0.5))] == ["w5", "w4", "w3", "w2", "w1"]


def test_the_oldest_weeks_go_until_the_rest_fits():
    assert dropped(Limits(size_bytes=45)) == [("w5", Cause.SIZE), ("w4", Cause.SIZE), ("w3", Cause.SIZE)]
    assert dropped(Limits(size_bytes=70)) == []
    assert dropped(Limits(days=24, size_bytes=55)) == [("w5", Cause.AGE), ("w4", Cause.SIZE)]


def test_needed_weeks_stay_and_recent_ones_go_for_their_size_only():
    kept = Kept(needed=[MONDAY - 5 * WEEK], recent=[MONDAY - 4 * WEEK])
    assert dropped(Limits(days=1), kept) == [("w3", Cause.AGE), ("w2", Cause.AGE), ("w1", Cause.AGE)]
    assert dropped(Limits(size_bytes=55), kept) == [("w4", Cause.SIZE), ("w3", Cause.SIZE)]


PARTITIONS = st.lists(st.integers(min_value=-2, max_value=60), unique=True, max_size=20).flatmap(
    lambda agos: st.tuples(*(st.builds(week, st.just(ago), st.integers(min_value=0, max_value=100)) for ago in agos))
)
FIRST_DAYS = st.frozensets(st.integers(min_value=-2, max_value=60).map(lambda ago: MONDAY - ago * WEEK))


@given(
    partitions=PARTITIONS,
    days=st.none() | st.floats(min_value=0.1, max_value=400),
    size=st.none() | st.integers(min_value=0, max_value=1000),
    needed=FIRST_DAYS,
    recent=FIRST_DAYS,
)
def test_nothing_that_is_needed_or_present_is_dropped_and_what_stays_fits(partitions, days, size, needed, recent):
    found = to_drop(partitions, TODAY, Limits(days, size), Kept(needed, recent))
    names = [one.name for one, _ in found]
    assert len(set(names)) == len(names)
    assert [one.starts for one, _ in found] == sorted(one.starts for one, _ in found)
    for one, cause in found:
        assert one.ends <= TODAY
        assert one.starts not in needed
        assert cause is Cause.SIZE or one.starts not in recent
        assert size is not None or cause is Cause.AGE
    stays = [one for one in partitions if one.name not in names]
    free = [one for one in stays if one.ends <= TODAY and one.starts not in needed]
    if size is not None:
        assert sum(one.size_bytes for one in stays) <= size or not free
    if days is not None:
        assert not [one for one in free if one.ends <= TODAY - timedelta(days=days) and one.starts not in recent]
