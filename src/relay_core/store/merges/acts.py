"""Writes of the worker that carries out a merge or a rebase. Each has an effect only if the row has its fence."""

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import Connection, func, select, update

from relay_core.domain.events import EventKind
from relay_core.domain.vocabulary import TaskStatus
from relay_core.store import events
from relay_core.store.events import Place
from relay_core.store.executions import owned
from relay_core.store.executions.claim import Claimed
from relay_core.store.schema.tables import ExecutionProcessRepoState, Merge, WorkspaceRepo
from relay_core.store.workspaces import lane
from relay_core.store.workspaces.fork import sources_of

M = Merge
MOST_CONFLICTS = 100


@dataclass(frozen=True)
class Prepared:
    """A commit that was made for a merge and stored before its first push."""

    commit: str
    target_commit: str
    """Commit of the target branch on which it was made."""


@dataclass(frozen=True)
class Earlier:
    """An earlier merge of the same repository into the same branch, by what it pushed or meant to push."""

    source_commit: str
    commit: str


@dataclass(frozen=True)
class Result:
    """The commit by which the target branch got the work of a merge."""

    merge_id: UUID
    repo_id: UUID
    repo: str
    target_branch: str
    commit: str


def begin(connection: Connection, claimed: Claimed, merge_id: UUID, source_commit: str) -> Prepared | None:
    """Store which execution carries a merge out, and what is merged; return what an earlier owner prepared of it.

    A commit that was prepared for another source, by the execution that this one repeats, is forgotten.

    Raises:
        Stale: the execution has ended, or another worker owns it.
    """
    _own(connection, claimed)
    mine = M.id == merge_id
    same = update(M).where(mine, M.source_commit.is_distinct_from(source_commit))
    connection.execute(same.values(source_commit=source_commit, prepared_commit=None, target_commit=None))
    connection.execute(update(M).where(mine).values(execution_id=claimed.execution_id, conflicts=None))
    row = connection.execute(select(M.prepared_commit, M.target_commit).where(mine)).one()
    if row.prepared_commit is None or row.target_commit is None:
        return None
    return Prepared(row.prepared_commit, row.target_commit)


def store_prepared(connection: Connection, claimed: Claimed, merge_id: UUID, prepared: Prepared) -> None:
    """Store the commit that is about to be pushed.

    Raises:
        Stale: the execution has ended, or another worker owns it.
    """
    _own(connection, claimed)
    values = {"prepared_commit": prepared.commit, "target_commit": prepared.target_commit}
    connection.execute(update(M).where(M.id == merge_id).values(**values))


def store_conflicts(connection: Connection, claimed: Claimed, merge_id: UUID, paths: Sequence[str]) -> None:
    """Store the paths that both sides changed, the first `MOST_CONFLICTS` of them.

    Raises:
        Stale: the execution has ended, or another worker owns it.
    """
    _own(connection, claimed)
    connection.execute(update(M).where(M.id == merge_id).values(conflicts=list(paths[:MOST_CONFLICTS])))


def merged(connection: Connection, claimed: Claimed, result: Result) -> None:
    """Store that the target branch has the work: in the merge, in the execution's repo state, and in the task.

    Raises:
        Stale: the execution has ended, or another worker owns it.
    """
    _own(connection, claimed)
    done = update(M).where(M.id == result.merge_id, M.merged_at.is_(None))
    connection.execute(done.values(merge_commit=result.commit, merged_at=func.clock_timestamp()))
    state = ExecutionProcessRepoState
    of_step = (state.execution_process_id == claimed.execution_id, state.repo_id == result.repo_id)
    connection.execute(update(state).where(*of_step).values(merge_commit=result.commit))
    payload = {
        "merge_id": str(result.merge_id),
        "repo": result.repo,
        "target_branch": result.target_branch,
        "merge_commit": result.commit,
    }
    place = Place(claimed.workspace_id, None)
    events.append_to_execution(connection, claimed.execution_id, place, EventKind.MERGE_MERGED, payload)
    lane.set_task_status(connection, claimed.workspace_id, TaskStatus.DONE)


def earlier(connection: Connection, workspace_id: UUID, repo_id: UUID, *, but: UUID | None) -> list[Earlier]:
    """Return what earlier merges of a repository of a workspace pushed, or meant to push, newest first.

    Those of the workspaces that a fork starts from are among them, as its commits have theirs.

    Args:
        connection: any transaction.
        workspace_id: the workspace.
        repo_id: the repository.
        but: a merge that is left out.
    """
    commit = func.coalesce(M.merge_commit, M.prepared_commit)
    of = [workspace_id, *sources_of(connection, workspace_id)]
    statement = select(M.source_commit, commit).where(M.workspace_id.in_(of), M.repo_id == repo_id)
    statement = statement.where(M.source_commit.is_not(None), commit.is_not(None))
    if but is not None:
        statement = statement.where(M.id != but)
    rows = connection.execute(statement.order_by(M.created_at.desc(), M.id).limit(20))
    return [Earlier(source, made) for source, made in rows if source is not None]


def move_base(connection: Connection, claimed: Claimed, repo_id: UUID, base_commit: str) -> None:
    """Store the commit at which the workspace's branch begins after a rebase.

    Raises:
        Stale: the execution has ended, or another worker owns it.
    """
    _own(connection, claimed)
    mine = (WorkspaceRepo.workspace_id == claimed.workspace_id, WorkspaceRepo.repo_id == repo_id)
    connection.execute(update(WorkspaceRepo).where(*mine).values(base_commit=base_commit))


def _own(connection: Connection, claimed: Claimed) -> None:
    """Lock the execution's row until the end of the transaction, if this worker owns it still."""
    owned.store_handle(connection, claimed.execution_id, claimed.fence, claimed.handle)
