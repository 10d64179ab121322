"""One git act of a workspace while this worker carries it out: the execution, its workspace, and its log."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any
from uuid import UUID

from relay_core.domain.errors import StepFailed
from relay_core.domain.logs.masking import SecretMask
from relay_core.domain.vocabulary import Reason
from relay_core.store.executions import owned
from relay_core.store.executions.claim import Claimed
from relay_core.store.transaction import Database
from relay_core.store.workspaces.workspace_row import WorkspaceRepoRow
from relay_workers.execution.after_state_request import after_state_request
from relay_workers.execution.repo_states import head_columns
from relay_workers.execution.step_log import StepLog
from relay_workers.execution.workspace import WorkspaceHandle
from relay_workers.git.port import AfterState, Git, Head
from relay_workers.ownership.live_executions import ExecutionControl, OwnershipLost

States = dict[UUID, Mapping[str, Any]]
"""Columns of the git state after an execution, by repository id."""


@dataclass(frozen=True)
class GitWork:
    """One git act that this worker carries out."""

    git: Git
    database: Database
    claimed: Claimed
    control: ExecutionControl
    workspace: WorkspaceHandle
    mask: SecretMask
    log: StepLog

    def repo(self, name: str) -> WorkspaceRepoRow:
        """Return the repository of the workspace with this name."""
        return next(repo for repo in self.workspace.row.repos if repo.name == name)

    def check_wanted(self) -> None:
        """Raise an error if the act should not go on.

        Raises:
            OwnershipLost: another worker owns the execution, or this worker shuts down.
            StepFailed: `user`: the execution was killed.
        """
        if self.control.lost.is_set():
            raise OwnershipLost
        if self.control.kill.is_set():
            raise StepFailed(Reason.USER, f"killed during the {self.claimed.run_reason}")

    def heads(self) -> dict[UUID, Head]:
        """Return HEAD of each clone as it is now, by repository id."""
        return self.workspace.by_repo_id(self.git.heads(self.workspace.directory, self.workspace.repo_names))

    def head_states(self) -> States:
        """Return the columns for HEAD of each clone as it is now."""
        return {repo: head_columns(head, self.mask) for repo, head in self.heads().items()}

    def store_heads(self) -> None:
        """Store HEAD of each clone as the one before the act; what an earlier owner stored is kept.

        Raises:
            Stale: the execution has ended, or another worker owns it.
        """
        commits = {repo: head.commit for repo, head in self.heads().items()}
        claimed = self.claimed
        with self.database.begin() as connection:
            owned.record_before_heads(connection, claimed.execution_id, claimed.fence, commits, claimed.handle)

    def lease(self, ask: Callable[[], str]) -> str:
        """Return the commit that a forced push may replace, which its first owner has asked for and stored.

        It is stored before the first push, so a worker that takes the push over replaces nothing else.

        Raises:
            Stale: the execution has ended, or another worker owns it.
        """
        claimed = self.claimed
        if claimed.handle.replaces is not None:
            return claimed.handle.replaces
        found = ask()
        with self.database.begin() as connection:
            handle = replace(claimed.handle, replaces=found)
            owned.store_handle(connection, claimed.execution_id, claimed.fence, handle)
        return found

    def record(self, repo: WorkspaceRepoRow, pin: UUID | None = None) -> AfterState:
        """Record the state of a clone in its store, without a commit.

        Args:
            repo: the repository.
            pin: names the ref that keeps the state; None: the execution's id.
        """
        request = after_state_request(self.database, self.claimed, self.workspace, repo, self.mask)
        return self.git.after_state(replace(request, execution_id=pin or self.claimed.execution_id))
