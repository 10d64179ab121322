"""Ends the executions of nodes that are offline, or revoked without the worker that ran them."""

from collections.abc import Callable, Mapping
from functools import partial
from uuid import UUID

import structlog

from relay_core.domain.nodes import Bounds
from relay_core.live_log.publisher import LiveLogPublisher
from relay_core.store.executions import reap
from relay_core.store.executions.reap import LostExecution
from relay_core.store.logs.log_store import StreamEnd
from relay_core.store.transaction import Database
from relay_workers.maintenance.each_item import act_on_each

log = structlog.get_logger(__name__)

LEASE_SECONDS = 300.0
"""Lease of the reaper on an execution, in seconds: it reads the whole stored log, which may have gibibytes."""


class Reaper:
    """Takes over the executions of offline and revoked nodes and ends them, each in one transaction.

    Args:
        database: stores nodes and executions; after a commit it sends the messages of executions that may start next.
        owner: this worker, as the new owner of these executions.
        bounds: seconds of silence after which a node is offline.
        log_ends: reads the stored log of an execution and returns length and digest of each stream.
        live_logs: closes the live log of an ended execution, for clients that follow it.
    """

    def __init__(
        self,
        database: Database,
        owner: str,
        bounds: Bounds,
        log_ends: Callable[[UUID], Mapping[str, StreamEnd]],
        live_logs: LiveLogPublisher,
    ) -> None:
        self._database = database
        self._owner = owner
        self._bounds = bounds
        self._log_ends = log_ends
        self._live_logs = live_logs

    def sweep(self) -> int:
        """End the executions of all offline and revoked nodes whose leases have expired; return how many were ended.

        This reads the whole log of each execution and can take long, so it runs on its own clock.
        """
        with self._database.connect() as connection:
            node_ids = reap.lost_nodes(connection, self._bounds)
        ended: list[UUID] = []
        act_on_each(node_ids, partial(self._reap, ended))
        return len(ended)

    def _reap(self, ended: list[UUID], node_id: str) -> None:
        with self._database.begin() as connection:
            taken = reap.take_over(connection, node_id, self._owner, LEASE_SECONDS, self._bounds)
        act_on_each(taken, partial(self._end, ended))

    def _end(self, ended: list[UUID], execution: LostExecution) -> None:
        ends = self._log_ends(execution.execution_id)
        with self._database.begin() as connection:
            reap.end(connection, execution, ends)
        ended.append(execution.execution_id)
        self._live_logs.end(execution.execution_id)
        log.warning(
            "ended an execution of an offline or revoked node",
            execution_id=str(execution.execution_id),
            node=execution.node_id,
        )
