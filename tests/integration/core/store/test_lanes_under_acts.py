"""The lane of a workspace after any acts: never two holders, never a waiting step that is forgotten."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from relay_core.store.transaction import Database
from tests.support.random_acts import REPOS, Acts, lane_problems
from tests.support.store_acts import submit


@pytest.mark.parametrize("seed", range(4))
def test_after_each_of_many_acts_one_group_at_most_holds_each_lane(db: Database, seed: int) -> None:
    for _ in range(2):
        submit(db, *REPOS)
    acts = Acts(db, seed)
    done = []
    for _ in range(100):
        done.append(acts.one())
        assert lane_problems(db) == [], done
    assert sum("refused" not in name for name in done) > 30, done
    acts.drain()
    assert lane_problems(db) == []


def test_acts_beside_each_other_leave_no_lane_with_two_holders_or_a_forgotten_step(db: Database) -> None:
    for _ in range(3):
        submit(db, *REPOS)

    def work(seed: int) -> None:
        acts = Acts(db, seed)
        for _ in range(20):
            acts.one()

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(work, range(6)))
    assert lane_problems(db) == []
    Acts(db, 0).drain()
    assert lane_problems(db) == []
