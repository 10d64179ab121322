"""Merges the commits of one clone into the target branch of its remote.

The commit is made outside of the clone, from the store and the mirror, and stored in Postgres before its first push. A
worker that takes the merge over pushes the stored commit; it makes another one only if the target branch has moved.
"""

from dataclasses import dataclass
from uuid import uuid5

from relay_core.domain.errors import InvalidInput, StepFailed
from relay_core.domain.step import MergeStep
from relay_core.domain.vocabulary import MergeMethod, Reason
from relay_core.store.merges import acts
from relay_core.store.merges.acts import Prepared, Result
from relay_workers.execution.git_work import GitWork, States
from relay_workers.execution.mirrors import MirrorFetches
from relay_workers.execution.repo_states import after_state_columns
from relay_workers.execution.target_branch import Target
from relay_workers.git.act_requests import MergeRequest, PushRequest
from relay_workers.ownership.leases import Leases

_TRIES = 5
"""How often the target branch may move between the fetch and the push of one merge."""
_PATHS_NAMED = 10


def merge(work: GitWork, step: MergeStep, mirrors: MirrorFetches, leases: Leases) -> States:
    """Merge, and return the recorded state of the clone. The clone itself is only read.

    Raises:
        StepFailed: `merge_conflict`, `merge_failed`, `push_rejected`, `push_failed`, `timeout` or `user`.
        OwnershipLost: another worker owns the execution, or this worker shuts down.
    """
    repo = work.repo(step.repo)
    target = Target(work, mirrors, repo, step.target_branch, Reason.MERGE_FAILED)
    state, source = target.source()
    if state.dirty:
        work.log.say("the work tree has changes that are not committed; they are not merged")
    _Merge(work, step, target, source, leases).run()
    return {repo.repo_id: after_state_columns(state, work.mask)}


@dataclass(frozen=True)
class _Merge:
    work: GitWork
    step: MergeStep
    target: Target
    source: str
    leases: Leases

    def run(self) -> None:
        with self.work.database.begin() as connection:
            prepared = acts.begin(connection, self.work.claimed, self.step.merge_id, self.source)
        for left in reversed(range(_TRIES)):
            self.work.check_wanted()
            tip = self.target.fetch()
            if prepared is not None and self.target.has(tip, prepared.commit):
                self.work.log.say(f"branch {self.step.target_branch} has {prepared.commit} already")
                return self._done(prepared.commit)
            if prepared is None or prepared.target_commit != tip:
                prepared = self._prepare(tip)
            if prepared is None:
                return self._already(tip)
            if self._pushed(prepared, may_have_moved=left > 0):
                return self._done(prepared.commit)
        raise AssertionError("the last try returns or raises")  # pragma: no cover

    def _prepare(self, tip: str) -> Prepared | None:
        """Make the commit on top of the target branch and store it; return None if the branch has the work already."""
        work, step = self.work, self.step
        request = MergeRequest(
            workspace_id=work.claimed.workspace_id,
            workspace_dir=work.workspace.directory,
            name=step.repo,
            mirror_path=work.git.mirror_path(work.workspace.row.project_id, self.target.repo.url),
            target_commit=tip,
            source_commit=self.source,
            base_commit=self.target.merged_up_to(tip, self.source, step.merge_id),
            pin=uuid5(work.claimed.execution_id, f"merge {tip}"),
            uid=work.workspace.uid,
            gid=work.claimed.gid,
            cancelled=work.control.stop,
            message=step.message,
            two_parents=step.method is MergeMethod.MERGE,
        )
        made = work.git.merge(request)
        if made.conflicts:
            self._refuse(tip, [work.mask.text(path) for path in made.conflicts])
        if made.commit is None:
            return None
        work.log.say(f"{step.target_branch} is at {tip}; the {step.method} of {self.source} is {made.commit}")
        prepared = Prepared(made.commit, tip)
        with work.database.begin() as connection:
            acts.store_prepared(connection, work.claimed, step.merge_id, prepared)
        return prepared

    def _refuse(self, tip: str, paths: list[str]) -> None:
        with self.work.database.begin() as connection:
            acts.store_conflicts(connection, self.work.claimed, self.step.merge_id, paths)
        branch = self.step.target_branch
        text = f"{self.step.repo}: {branch} (at {tip}) and the workspace changed the same lines of {named(paths)}"
        raise StepFailed(Reason.MERGE_CONFLICT, f"{text}; nothing was changed")

    def _already(self, tip: str) -> None:
        """End the merge by an earlier one whose execution did not learn that its push had arrived.

        Raises:
            StepFailed: `merge_failed`: there is none, so there is nothing to merge.
        """
        for one in self.target.earlier(self.step.merge_id):
            if one.source_commit == self.source and self.target.has(tip, one.commit):
                self.work.log.say(f"branch {self.step.target_branch} has this work by {one.commit}")
                return self._done(one.commit)
        branch = self.step.target_branch
        message = f"there is nothing to merge: branch {branch} has all that the workspace has committed"
        raise StepFailed(Reason.MERGE_FAILED, message)

    def _pushed(self, prepared: Prepared, *, may_have_moved: bool) -> bool:
        """Push the commit; return False if the branch has moved meanwhile, so that another commit is needed."""
        work, step, repo = self.work, self.step, self.target.repo
        work.check_wanted()
        self.leases.confirm(work.control)
        request = PushRequest(
            workspace_id=work.claimed.workspace_id,
            name=repo.name,
            url=repo.url,
            commit=prepared.commit,
            base_commit=prepared.target_commit,
            branch=step.target_branch,
            on_output=work.log.write,
            cancelled=work.control.stop,
            mask=work.mask,
        )
        work.log.say(f"pushing {prepared.commit} to branch {step.target_branch} of {repo.url}")
        try:
            work.git.push(request)
        except InvalidInput as error:  # the settings of the node allow the remote no more
            raise StepFailed(Reason.PUSH_FAILED, str(error)) from error
        except StepFailed as error:
            if error.reason != Reason.PUSH_REJECTED or work.git.branch_at(request) == prepared.target_commit:
                raise
            if not may_have_moved:
                message = f"branch {step.target_branch} moved {_TRIES} times while this merge was made; merge again"
                raise StepFailed(Reason.MERGE_FAILED, message) from error
            work.log.say(f"branch {step.target_branch} has moved meanwhile; merging again")
            return False
        return True

    def _done(self, commit: str) -> None:
        step = self.step
        result = Result(step.merge_id, self.target.repo.repo_id, step.repo, step.target_branch, commit)
        with self.work.database.begin() as connection:
            acts.merged(connection, self.work.claimed, result)
        self.work.log.say(f"branch {step.target_branch} has {commit}")


def named(paths: list[str]) -> str:
    """Return the first paths as a text."""
    more = len(paths) - _PATHS_NAMED
    return ", ".join(paths[:_PATHS_NAMED]) + (f" and {more} more" if more > 0 else "")
