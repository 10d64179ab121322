"""Resets one clone for a git act, also after the death of a worker that was at work in it."""

from relay_core.domain.errors import StepFailed
from relay_core.domain.vocabulary import Reason
from relay_core.store.executions import owned
from relay_workers.execution.git_work import GitWork
from relay_workers.git.act_requests import ResetRequest
from relay_workers.git.sandbox.locks import remove_dead_locks

_TRIES = 3
"""How often a worker that took a reset over tries it: the git container of the dead worker may be at work still."""
_TRY_SECONDS = 1.0


def reset_clone(work: GitWork, request: ResetRequest) -> None:
    """Reset a clone. If an earlier owner of the execution has died, remove the locks that its git left there.

    Raises:
        StepFailed: as `Git.reset`.
    """
    if work.claimed.adopted:
        _remove_dead_locks(work, request)
    for _ in range(_TRIES - 1 if work.claimed.adopted else 0):
        try:
            work.git.reset(request)
        except StepFailed as error:
            if error.reason != Reason.RESET_FAILED or work.control.stop.wait(_TRY_SECONDS):
                raise
        else:
            return
    work.git.reset(request)


def _remove_dead_locks(work: GitWork, request: ResetRequest) -> None:
    with work.database.connect() as connection:
        gids = owned.running_gids(connection, work.claimed.workspace_id, but=work.claimed.execution_id)
    remove_dead_locks(request.workspace_dir, request.name, request.branch, ended=work.claimed.gid, running=lambda: gids)
