"""Updates the masks of running executions with secrets that were stored or given to other executions meanwhile."""

from collections.abc import Sequence

import structlog

from relay_core.domain.errors import StepFailed
from relay_core.secret_box import SecretBox
from relay_core.store.projects import secrets
from relay_core.store.transaction import Database
from relay_core.store.workspaces import workspace_row
from relay_workers.execution.secret_values import to_mask
from relay_workers.ownership.live_executions import LiveExecutions
from relay_workers.ownership.live_secrets import LiveSecrets

LOOK_SECONDS = 1.0
"""Seconds between two comparisons; each needs one query for all live executions that use secrets."""

log = structlog.get_logger(__name__)


class SecretRefresh:
    """Compares the masks of live executions with the secrets in Postgres.

    Args:
        database: stores the secrets.
        box: decrypts secrets.
        live: the executions of this worker.
    """

    def __init__(self, database: Database, box: SecretBox, live: LiveExecutions) -> None:
        self._database = database
        self._box = box
        self._live = live

    def sweep(self) -> None:
        """Update the masks of all live executions."""
        if live := [control.secrets for control in self._live.all() if control.secrets is not None]:
            self.refresh(live)

    def refresh(self, live: Sequence[LiveSecrets]) -> None:
        """Update the masks in ``live``. A mask whose values cannot be decrypted stays as it is."""
        with self._database.connect() as connection:
            stamps = secrets.stamps(connection, list({masked.workspace_id for masked in live}))
        changed = [masked for masked in live if masked.stamp != stamps[masked.workspace_id]]
        for workspace_id in {masked.workspace_id for masked in changed}:
            with self._database.connect() as connection:
                row = workspace_row.load(connection, workspace_id)
            try:
                values = to_mask(self._box, row)
            except StepFailed as error:
                log.warning("a new secret cannot be masked", workspace_id=str(workspace_id), error=str(error))
                continue
            for masked in changed:
                if masked.workspace_id == workspace_id:
                    masked.set_secrets(values)
                    masked.stamp = stamps[workspace_id]
