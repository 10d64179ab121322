"""Writes of an execution's owner while it runs, and reads that belong to them.

Each write has an effect only if the row has the owner's fence.
"""

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, select, text, update

from relay_core.domain.errors import Stale
from relay_core.domain.process_handle import ProcessHandle
from relay_core.domain.vocabulary import Status
from relay_core.store.executions.handle_json import handle_to_json
from relay_core.store.schema.tables import ExecutionProcess, ExecutionProcessRepoState

E = ExecutionProcess


def update_owned(connection: Connection, execution_id: UUID, fence: int, **fields: Any) -> None:
    """Write columns of a running execution that the caller owns.

    Args:
        connection: one transaction.
        execution_id: the execution.
        fence: fence of the caller's claim.
        fields: new values by column name.

    Raises:
        Stale: the execution has ended, or another worker owns it.
    """
    statement = update(E).where(E.id == execution_id, E.fence == fence, E.status == Status.RUNNING).values(**fields)
    if connection.execute(statement).rowcount == 0:
        raise Stale(f"execution {execution_id} is no longer owned with fence {fence}")


def store_handle(connection: Connection, execution_id: UUID, fence: int, handle: ProcessHandle) -> None:
    """Store where the process of an execution can be found.

    Raises:
        Stale: the execution has ended, or another worker owns it.
    """
    update_owned(connection, execution_id, fence, handle=handle_to_json(handle))


def record_before_heads(
    connection: Connection, execution_id: UUID, fence: int, heads: Mapping[UUID, str | None], handle: ProcessHandle
) -> None:
    """Store the HEAD commit of every repo before a step, and the handle of the process that is about to start.

    A commit that is stored already is kept: a worker that takes over must not replace what the first owner found.

    Args:
        connection: one transaction.
        execution_id: the execution that is about to start.
        fence: fence of the caller's claim.
        heads: commit of HEAD by repo id; None if the repo has no commit.
        handle: where the process can be found.

    Raises:
        Stale: the execution has ended, or another worker owns it.
    """
    store_handle(connection, execution_id, fence, handle)
    for repo_id, commit in heads.items():
        connection.execute(
            text(
                "INSERT INTO execution_process_repo_states (execution_process_id, repo_id, before_head_commit) "
                "VALUES (:execution, :repo, :commit) ON CONFLICT DO NOTHING"
            ),
            {"execution": execution_id, "repo": repo_id, "commit": commit},
        )


def before_head(connection: Connection, execution_id: UUID, repo_id: UUID) -> str | None:
    """Return the commit that `record_before_heads` stored for a repo; None if it stored none."""
    state = ExecutionProcessRepoState
    return connection.scalar(
        select(state.before_head_commit).where(state.execution_process_id == execution_id, state.repo_id == repo_id)
    )


def before_run(connection: Connection, execution_id: UUID, repo_id: UUID) -> str | None:
    """Return the commit of HEAD of a repo before the first step of an execution's run.

    It is that of the first execution of the run for which `record_before_heads` stored one; None if there is none, or
    if the execution belongs to no run.
    """
    state = ExecutionProcessRepoState
    run_id = select(E.run_id).where(E.id == execution_id).scalar_subquery()
    stored = select(state.before_head_commit).join(E, E.id == state.execution_process_id)
    stored = stored.where(E.run_id == run_id, state.repo_id == repo_id, state.before_head_commit.is_not(None))
    return connection.scalar(stored.order_by(E.created_at, E.id).limit(1))


def bundled_commits(connection: Connection, workspace_id: UUID, repo_id: UUID) -> frozenset[str]:
    """Return the pinned commits of one clone whose bundle is stored, with any of the clone's recorded states."""
    state = ExecutionProcessRepoState
    statement = (
        select(state.pinned_commit)
        .join(E, E.id == state.execution_process_id)
        .where(E.workspace_id == workspace_id, state.repo_id == repo_id, state.bundle.is_not(None))
    )
    return frozenset(commit for commit in connection.scalars(statement) if commit is not None)


def running_gids(connection: Connection, workspace_id: UUID, *, but: UUID) -> list[int]:
    """Return the gids of a workspace's running executions, without that of the execution ``but``."""
    statement = select(E.handle["gid"].as_integer()).where(
        E.workspace_id == workspace_id, E.status == Status.RUNNING, E.id != but
    )
    return [gid for gid in connection.scalars(statement) if gid is not None]
