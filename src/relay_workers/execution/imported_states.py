"""Brings the new clones of a workspace that came from another Relay to the states that were recorded there."""

from collections.abc import Collection, Sequence
from dataclasses import replace
from pathlib import Path

from relay_core.domain.errors import StepFailed
from relay_core.domain.vocabulary import Reason
from relay_core.store.executions.claim import Claimed
from relay_core.store.transaction import Database
from relay_core.store.workspaces import imported
from relay_core.store.workspaces.workspace_row import WorkspaceRepoRow
from relay_workers.execution.step_log import StepLog
from relay_workers.execution.workspace_container import ContainerPlan
from relay_workers.git.act_requests import ResetRequest, RestoreRequest
from relay_workers.git.port import CloneResult, Git
from relay_workers.ownership.live_executions import ExecutionControl


class ImportedStates:
    """Restores recorded states.

    Args:
        git: knows stores and clones.
        database: has the bundles.
    """

    def __init__(self, git: Git, database: Database) -> None:
        self._git = git
        self._database = database

    def bring_back(
        self,
        claimed: Claimed,
        plan: ContainerPlan,
        clones: Sequence[CloneResult],
        kept: Collection[str],
        control: ExecutionControl,
        log: StepLog,
    ) -> list[CloneResult]:
        """Return the clones of a workspace, of which new ones are at the state that was recorded of them, if any was.

        Args:
            claimed: the execution.
            plan: its workspace.
            clones: the clones, in the order of its repositories.
            kept: names of clones that an earlier preparation completed; they stay as they are.
            control: stops it.
            log: gets a line for each clone that is brought back.

        Raises:
            StepFailed: `clone_failed`, `reset_failed`: the state is not there, or git cannot restore it.
        """
        return [
            self._restored(claimed, plan, repo, clone, control, log) if repo.name not in kept else clone
            for repo, clone in zip(plan.row.repos, clones, strict=True)
        ]

    def _restored(
        self,
        claimed: Claimed,
        plan: ContainerPlan,
        repo: WorkspaceRepoRow,
        clone: CloneResult,
        control: ExecutionControl,
        log: StepLog,
    ) -> CloneResult:
        commit = repo.restore_commit
        if commit is None or commit == clone.head_commit:
            return clone
        with self._database.connect() as connection:
            bundle, problem = imported.bundle_of(connection, plan.row.id, repo.repo_id, commit)
        reset = ResetRequest(
            workspace_dir=plan.directory,
            name=repo.name,
            mirror_path=Path(clone.mirror_path),
            branch=plan.row.branch,
            commit=commit,
            uid=plan.uid,
            gid=claimed.gid,
            cancelled=control.stop,
        )
        try:
            head = self._git.restore(RestoreRequest(plan.row.id, reset, bundle, claimed.execution_id))
        except StepFailed as error:
            if bundle is not None or problem is None or error.reason != Reason.CLONE_FAILED:
                raise
            raise StepFailed(Reason.CLONE_FAILED, f"{error}; it came without a bundle: {problem}") from error
        log.say(f"{repo.name} is brought to {head}, the state that it was imported with")
        return replace(clone, head_commit=head)
