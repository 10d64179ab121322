"""Whether an execution changed something in the clones of its workspace, as its recorded git states tell."""

from uuid import UUID

from sqlalchemy import Connection, bindparam, func, select

from relay_core.domain.vocabulary import EvidenceState
from relay_core.store.schema.tables import ExecutionProcessRepoState

S = ExecutionProcessRepoState
NOTHING_TO_CLEAN_UP = "the turn changed nothing, so no cleanup script runs"
_UNCHANGED = (
    (S.after_state == EvidenceState.RECORDED)
    & (S.before_head_commit == S.after_head_commit)
    & S.dirty.is_(False)
    & S.problem.is_(None)
)
_NOTHING = select(func.coalesce(func.bool_and(func.coalesce(_UNCHANGED, False)), False)).where(
    S.execution_process_id == bindparam("of_execution")
)


def changed_nothing(connection: Connection, execution_id: UUID) -> bool:
    """Return whether every clone has the HEAD that it had before the execution, and no uncommitted change.

    What is not known counts as changed: then the cleanup scripts run.
    """
    return bool(connection.scalar(_NOTHING, {"of_execution": execution_id}))
