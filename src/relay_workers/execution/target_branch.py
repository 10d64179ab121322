"""The target branch of a merge or a rebase as the remote has it now, and the base of what the workspace adds to it."""

from dataclasses import dataclass
from uuid import UUID

from relay_core.domain.errors import StepFailed
from relay_core.domain.vocabulary import Reason
from relay_core.store.merges import acts
from relay_core.store.merges.acts import Earlier
from relay_core.store.workspaces.workspace_row import WorkspaceRepoRow
from relay_workers.execution.git_work import GitWork
from relay_workers.execution.mirrors import MirrorFetches
from relay_workers.git.port import AfterState, FetchRequest


@dataclass(frozen=True)
class Target:
    """The branch of one repository's remote that a merge or a rebase is about.

    Attributes:
        reason: the reason with which the execution ends if the branch cannot be read.
    """

    work: GitWork
    mirrors: MirrorFetches
    repo: WorkspaceRepoRow
    branch: str
    reason: Reason

    def fetch(self) -> str:
        """Update the mirror; return the commit of the branch.

        Raises:
            StepFailed: `reason`: the remote cannot be read or lacks the branch; else as `Git.fetch`.
        """
        work = self.work
        request = FetchRequest(
            work.workspace.row.project_id, self.repo.url, self.branch, work.log.write, work.control.stop
        )
        try:
            return self.mirrors.fetch(request).target_commit
        except StepFailed as error:
            if error.reason != Reason.CLONE_FAILED:
                raise
            text = str(error).replace("cannot clone", "cannot fetch", 1)
            raise StepFailed(self.reason, f"branch {self.branch}: {text}") from error

    def source(self) -> tuple[AfterState, str]:
        """Record the state of the clone in its store; return it, and the commit of HEAD.

        Raises:
            StepFailed: `reason`: the commits cannot be read.
        """
        state = self.work.record(self.repo)
        if state.after_head is None or state.pinned_commit is None:
            why = self.work.mask.text(state.problem or "HEAD has no commit")
            raise StepFailed(self.reason, f"the commits of repos/{self.repo.name} cannot be read: {why}")
        return state, state.after_head

    def has(self, commit: str, wanted: str) -> bool:
        """Return whether ``wanted`` is ``commit`` or an ancestor of it."""
        return self.work.git.contains(self.work.claimed.workspace_id, self.repo.name, commit, wanted)

    def earlier(self, but: UUID | None) -> list[Earlier]:
        """Return the earlier merges of the repository, newest first, without one."""
        with self.work.database.connect() as connection:
            return acts.earlier(connection, self.work.claimed.workspace_id, self.repo.repo_id, but=but)

    def merged_up_to(self, target_commit: str, source_commit: str, but: UUID | None) -> str | None:
        """Return the newest commit of the workspace's branch whose work an earlier merge brought to the target.

        A squashed commit does not have it as ancestor, so git does not know; None if there is no such merge.
        """
        return next(
            (
                one.source_commit
                for one in self.earlier(but)
                if self.has(target_commit, one.commit) and self.has(source_commit, one.source_commit)
            ),
            None,
        )
