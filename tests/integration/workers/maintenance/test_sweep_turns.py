"""Sweeps for all nodes: of the workers that may do one, one does it, and the others do not even ask for the turn."""

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from functools import partial
from queue import SimpleQueue

from relay_core.store.executions.leases import Renewal
from relay_core.store.nodes.sweep_turns import take_turn
from relay_core.store.transaction import Database
from relay_workers.maintenance.sweep_turns import SweepTurns


def told(*swept: str) -> Renewal:
    return Renewal(datetime.now(UTC), frozenset(), frozenset(swept))


def is_free(database: Database) -> bool:
    with database.begin() as connection:
        return take_turn(connection, "sweeps", 4)


def test_of_workers_that_look_at_once_one_sweeps(database: Database) -> None:
    acts: SimpleQueue[int] = SimpleQueue()
    workers = [SweepTurns(database) for _ in range(4)]
    with ThreadPoolExecutor(4) as pool:
        for number, worker in enumerate(workers):
            pool.submit(worker._act_in_turn, "sweeps", partial(acts.put, number))
    assert acts.qsize() == 1


def test_a_worker_asks_only_if_its_last_renewal_told_of_no_turn(database: Database) -> None:
    acts: SimpleQueue[None] = SimpleQueue()
    act = partial(acts.put, None)
    turns = SweepTurns(database)
    clock = turns.clock("sweeps", act)
    turns.tell(told("sweeps"))
    turns._act_in_turn("sweeps", act)
    assert acts.empty()
    assert is_free(database)
    with database.begin() as connection:
        connection.exec_driver_sql("UPDATE sweep_turns SET taken_at = now() - interval '1 minute'")
    turns.tell(told())
    clock.start()
    acts.get(timeout=30)
    clock.stop()
    turns._act_in_turn("sweeps", act)
    assert acts.empty(), "it sweeps once for what one renewal told"
    assert not is_free(database)
