"""Carries out the git acts of a workspace: `push`, `reset`, `merge` and `rebase` executions.

They have no process in the container that another worker could attach to. So each can be repeated without harm: a
worker that takes the execution over runs it again from the start.
"""

from collections.abc import Callable
from dataclasses import dataclass

from relay_core.domain import execution as machine
from relay_core.domain.errors import Stale, StepFailed
from relay_core.domain.logs.masking import SecretMask
from relay_core.domain.step import MergeStep, PushStep, RebaseStep, ResetStep
from relay_core.domain.vocabulary import MergeKind
from relay_core.secret_box import SecretBox
from relay_core.store.executions.claim import Claimed
from relay_core.store.executions.finish import Evidence
from relay_core.store.outage import is_away
from relay_core.store.transaction import Database
from relay_workers.execution.clone import OpenLog
from relay_workers.execution.git_work import GitWork, States
from relay_workers.execution.merge_act import merge
from relay_workers.execution.mirrors import MirrorFetches
from relay_workers.execution.outcome import Outcome, as_failure, end_of
from relay_workers.execution.pull_request_act import Tokens, open_pull_request
from relay_workers.execution.push_act import push
from relay_workers.execution.rebase_act import rebase
from relay_workers.execution.reset_act import reset
from relay_workers.execution.secret_values import to_mask
from relay_workers.execution.step_log import StepLog
from relay_workers.execution.workspace import Workspaces
from relay_workers.git.port import Git
from relay_workers.ownership.leases import Leases
from relay_workers.ownership.live_executions import ExecutionControl, OwnershipLost


@dataclass(frozen=True)
class GitActs:
    """Carries out git acts. Each worker has one.

    Attributes:
        workspaces: rows and directories of workspaces.
        git: carries out the acts.
        mirrors: fetches the target branches of merges and rebases.
        tokens: the tokens for hosts of pull requests.
        database: stores the HEAD commits before the act.
        secrets: decrypts the values to mask.
        leases: confirm that this worker owns the execution, before clones are changed.
        open_log: opens the execution's log.
    """

    workspaces: Workspaces
    git: Git
    mirrors: MirrorFetches
    tokens: Tokens
    database: Database
    secrets: SecretBox
    leases: Leases
    open_log: OpenLog

    def run(self, claimed: Claimed, control: ExecutionControl) -> Outcome:
        """Carry out the git act of an execution, and return the outcome.

        Raises:
            OwnershipLost: another worker owns the execution, or this worker shuts down.
            Stale: another worker owns the execution.
        """
        row = self.workspaces.row(claimed.workspace_id)
        with self.open_log(claimed, row, control) as log:
            try:
                return self._carry_out(claimed, control, log)
            except (OwnershipLost, Stale):
                raise
            except Exception as error:
                if control.lost.is_set() or is_away(error):
                    raise
                failure = as_failure(error)
                log.say(str(failure))
                transition = end_of(failure, kill_asked=control.kill.is_set())
                return Outcome(transition, Evidence(self._heads_if_any(claimed), log.ends()), gone=True)

    def _carry_out(self, claimed: Claimed, control: ExecutionControl, log: StepLog) -> Outcome:
        workspace = self.workspaces.attend(claimed.workspace_id)
        mask = SecretMask(to_mask(self.secrets, workspace.row))
        work = GitWork(self.git, self.database, claimed, control, workspace, mask, log)
        work.store_heads()
        work.check_wanted()
        states = self._act(work)()
        return Outcome(machine.completed(0), Evidence({**work.head_states(), **states}, log.ends()), gone=True)

    def _act(self, work: GitWork) -> Callable[[], States]:
        step = work.claimed.step
        if isinstance(step, PushStep):
            return lambda: push(work, step)
        if isinstance(step, ResetStep):
            return lambda: reset(work, step, self.leases)
        if isinstance(step, MergeStep) and step.kind is MergeKind.PR:
            return lambda: open_pull_request(work, step, self.leases, self.tokens)
        if isinstance(step, MergeStep):
            return lambda: merge(work, step, self.mirrors, self.leases)
        if isinstance(step, RebaseStep):
            return lambda: rebase(work, step, self.mirrors, self.leases)
        raise TypeError(f"{step.run_reason} is no git act")

    def _heads_if_any(self, claimed: Claimed) -> States:
        """Return the commits of HEAD after a failure; nothing if the workspace is gone."""
        try:
            workspace = self.workspaces.attend(claimed.workspace_id)
            heads = workspace.by_repo_id(self.git.heads(workspace.directory, workspace.repo_names))
        except (StepFailed, OSError):
            return {}
        return {repo: {"after_head_commit": head.commit} for repo, head in heads.items()}
