"""Collects the evidence of a step that broke: the log as far as it is stored, and the HEAD of every repository."""

from collections.abc import Mapping
from typing import Any
from uuid import UUID

import structlog

from relay_core.domain.errors import RelayError, StepFailed
from relay_core.domain.logs.masking import SecretMask
from relay_core.secret_box import SecretBox
from relay_core.store.executions.claim import Claimed
from relay_core.store.executions.finish import Evidence
from relay_core.store.logs.log_store import LogStore, StreamEnd
from relay_core.store.transaction import Database
from relay_core.store.workspaces import workspace_row
from relay_workers.execution.repo_states import head_columns
from relay_workers.execution.secret_values import to_mask
from relay_workers.execution.step_log import stored_ends
from relay_workers.execution.workspace import Workspaces
from relay_workers.git.port import Git

log = structlog.get_logger(__name__)


class PartialEvidence:
    """Collects evidence without the step's own `StepSession`, which may have failed before it was complete.

    Args:
        database: reads the workspace's row.
        logs: the stored logs.
        git: reads HEAD commits.
        secrets: decrypts the values to mask.
        workspaces: finds the directories of workspaces.
    """

    def __init__(
        self, database: Database, logs: LogStore, git: Git, secrets: SecretBox, workspaces: Workspaces
    ) -> None:
        self._database = database
        self._logs = logs
        self._git = git
        self._secrets = secrets
        self._workspaces = workspaces

    def collect(self, claimed: Claimed, *, truncated: bool) -> Evidence:
        """Return the sizes of the stored log, and the HEAD of each repository that can be read.

        Args:
            claimed: the execution.
            truncated: whether its process may have written more output than is stored; the log is then marked
                incomplete.
        """
        heads = {} if claimed.in_workspace is None else self.heads(claimed.in_workspace)
        return Evidence(heads, self.log_ends(claimed.execution_id, truncated=truncated))

    def heads(self, workspace_id: UUID) -> Mapping[UUID, Mapping[str, Any]]:
        """Return the columns of HEAD by repository id; an empty dict if the repositories cannot be read."""
        try:
            return self._heads(workspace_id)
        except (OSError, RelayError) as error:
            log.warning("the repositories cannot be read", workspace_id=str(workspace_id), error=str(error))
            return {}

    def log_ends(self, execution_id: UUID, *, truncated: bool) -> dict[str, StreamEnd]:
        """Return size and digest of each stored stream; with ``truncated``, mark all of them as incomplete."""
        ends = stored_ends(self._logs, execution_id)
        return {name: end._replace(truncated=end.truncated or truncated) for name, end in ends.items()}

    def _heads(self, workspace_id: UUID) -> dict[UUID, Mapping[str, Any]]:
        """Return the HEAD columns of each clone by repository id; an empty dict if the clones are gone."""
        with self._database.connect() as connection:
            row = workspace_row.load(connection, workspace_id)
        directory = self._workspaces.directory(workspace_id)
        if not (directory / "repos").is_dir():
            return {}
        heads = self._git.heads(directory, [repo.name for repo in row.repos])
        try:
            mask = SecretMask(to_mask(self._secrets, row))
        except StepFailed:  # the secrets cannot be masked, so only commit ids are safe to show
            return {repo.repo_id: {"after_head_commit": heads[repo.name].commit} for repo in row.repos}
        return {repo.repo_id: head_columns(heads[repo.name], mask) for repo in row.repos}
