"""Makes a worker the owner of an execution: claims a queued one, or takes over ("adopts") one whose worker is gone."""

from collections.abc import Callable
from uuid import UUID

import structlog

from relay_core.domain.execution import Transition
from relay_core.settings import Settings
from relay_core.store.executions.adopt import adopt
from relay_core.store.executions.claim import Claimant, Claimed, NotClaimed, claim
from relay_core.store.outage import SQLAlchemyError, is_away
from relay_core.store.transaction import Database
from relay_workers.ownership.admission import Admission
from relay_workers.ownership.live_executions import LiveExecutions, OwnershipLost
from relay_workers.ownership.node_identity import is_dead

log = structlog.get_logger(__name__)


class Claims:
    """Claims executions for one worker.

    Args:
        settings: the data directory, and the disk space that must stay free.
        database: stores the executions.
        claimant: this worker.
        live: the executions that this worker owns already.
        admission: is called for executions for which the node has no free capacity.
        look: compares the clones of an execution's workspace with what was recorded, before the claim; None: nothing
            is compared.
    """

    def __init__(
        self,
        settings: Settings,
        database: Database,
        claimant: Claimant,
        live: LiveExecutions,
        admission: Admission,
        look: Callable[[UUID], None] | None = None,
    ) -> None:
        self._settings = settings
        self._database = database
        self._claimant = claimant
        self._live = live
        self._admission = admission
        self._look = look

    def claim(self, execution_id: UUID, attempt: int) -> Claimed | Transition:
        """Make this worker the owner of an execution.

        Returns:
            The claimed execution. If the claim found that the execution can never start (its workspace is gone), it has
            ended the execution, and that end is returned.

        Raises:
            OwnershipLost: another worker owns the execution, the node has no free capacity for it, or Postgres is away.
                If the execution still has to run, a message for it is sent again later.
        """
        try:
            return self._take(execution_id, attempt)
        except SQLAlchemyError as error:
            if not is_away(error):
                raise
            log.warning("the database is away; a sweep sends the message again", execution_id=str(execution_id))
            raise OwnershipLost("the database is away") from error

    def _take(self, execution_id: UUID, attempt: int) -> Claimed | Transition:
        claimed = self._claim(execution_id, attempt)
        if isinstance(claimed, Claimed):
            return claimed
        log.info("not claimed", execution_id=str(execution_id), why=claimed.why)
        if claimed.waits is not None:
            self._admission.refused(claimed.waits)
            raise OwnershipLost(claimed.why)
        if claimed.ended is None:
            raise OwnershipLost(claimed.why)
        return claimed.ended

    def _claim(self, execution_id: UUID, attempt: int) -> Claimed | NotClaimed:
        if self._look is not None:
            self._look(execution_id)
        full = self._admission.why_disk_full()
        with self._database.begin() as connection:
            claimed = claim(connection, execution_id, attempt, self._claimant, full=full)
        if isinstance(claimed, Claimed) or claimed.waits is not None or claimed.ended is not None:
            return claimed
        return self._adopt(execution_id, attempt, claimed)

    def _adopt(self, execution_id: UUID, attempt: int, refusal: NotClaimed) -> Claimed | NotClaimed:
        """Try to take over an execution that is not queued: it may be running, and its worker may be gone."""
        if any(control.execution_id == execution_id for control in self._live.all()):
            return NotClaimed("it runs here already")
        left_by_us = self._live.is_left(execution_id, but=1)  # the calling thread is counted, too

        def is_gone(owner: str) -> bool:
            return left_by_us if owner == self._claimant.owner else is_dead(self._settings.data_dir, owner)

        with self._database.begin() as connection:
            adopted = adopt(connection, execution_id, attempt, self._claimant, is_gone)
        if isinstance(adopted, NotClaimed):
            return NotClaimed(f"{refusal.why}; {adopted.why}")
        facts = {
            "workspace_id": str(adopted.in_workspace or ""),
            "run_reason": adopted.run_reason,
            "fence": adopted.fence,
        }
        log.info("adopted", execution_id=str(execution_id), **facts)
        return adopted
