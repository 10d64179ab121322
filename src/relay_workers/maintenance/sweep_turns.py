"""Elects, for each sweep that one worker does for all nodes, the worker that does it now.

The renewal of a worker's lease, which happens anyway, tells which sweeps had no turn for a while. Only then the worker
tries to take the turn, so a fleet does not ask for each sweep at each tick of each worker. Renewals of different
workers come at different times, so few try at once.
"""

import threading
import time
from collections.abc import Callable
from functools import partial

from relay_core.store.executions.leases import Renewal
from relay_core.store.nodes.sweep_turns import take_turn
from relay_core.store.transaction import Database
from relay_workers.maintenance.ticker import Ticker
from relay_workers.ownership.leases import TURN_SECONDS

TICK_SECONDS = 5.0
"""Interval of the clocks of these sweeps; a renewal that tells of a turn makes them tick at once."""
TOLD_SECONDS = 12.0
"""Age of the last renewal up to which its answer counts. If it is older, the worker tries at each tick."""


class SweepTurns:
    """The turns of one worker.

    Args:
        database: stores who had a turn when.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._lock = threading.Lock()
        self._clocks: dict[str, Ticker] = {}
        self._due: set[str] = set()
        self._told_at = float("-inf")

    def clock(self, name: str, act: Callable[[], None]) -> Ticker:
        """Make the clock of a sweep, which calls `act` whenever this worker has the turn.

        Args:
            name: of the clock and of the sweep.
            act: does the sweep. It may run longer than a turn lasts; then another worker does it at the same time.
        """
        clock = self._clocks[name] = Ticker(name, TICK_SECONDS, partial(self._act_in_turn, name, act))
        return clock

    def tell(self, renewal: Renewal) -> None:
        """Note which sweeps are due, and wake their clocks."""
        with self._lock:
            self._told_at = time.monotonic()
            self._due = set(self._clocks) - renewal.swept
            due = [self._clocks[name] for name in self._due]
        for clock in due:
            clock.call_soon()

    def _act_in_turn(self, name: str, act: Callable[[], None]) -> None:
        if self._may_be_due(name) and self._take(name):
            act()

    def _may_be_due(self, name: str) -> bool:
        with self._lock:
            due = name in self._due or time.monotonic() - self._told_at > TOLD_SECONDS
            self._due.discard(name)
        return due

    def _take(self, name: str) -> bool:
        with self._database.begin() as connection:
            return take_turn(connection, name, TURN_SECONDS)
