"""Forks: a new workspace starts from a recorded state of another one, on the node that has it.

The state is the pinned commit of each repository: HEAD after a step, with the changes that were not committed then. It
is in the bare stores of the other workspace on its node, so neither its clone nor its container is needed.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, RowMapping, select, text
from sqlalchemy.dialects.postgresql import distinct_on

from relay_core.domain.errors import Conflict, InvalidInput, NotFound
from relay_core.domain.nodes import closed_by_operator
from relay_core.store.nodes import attachments
from relay_core.store.schema.tables import (
    ExecutionProcess,
    ExecutionProcessRepoState,
    RuntimeNode,
    Task,
    Workspace,
    WorkspaceRepo,
)
from relay_core.store.tokens import Principal

E, N, S, W = ExecutionProcess, RuntimeNode, ExecutionProcessRepoState, WorkspaceRepo
FIELD = "from_workspace"
_SOURCES = text(
    """
    WITH RECURSIVE sources AS (
      SELECT forked_from AS id FROM workspaces WHERE id = :fork
      UNION
      SELECT w.forked_from FROM sources s JOIN workspaces w ON w.id = s.id)
    SELECT id FROM sources WHERE id IS NOT NULL
    """
)


@dataclass(frozen=True)
class ForkRequest:
    """The state from which a new workspace is to start."""

    workspace_id: UUID
    execution_id: UUID | None = None
    """The execution after which the state was recorded; None: the latest state of each repository."""


@dataclass(frozen=True)
class RecordedState:
    """The recorded state of one clone."""

    url: str
    name: str
    """Name of the clone in the workspace that has the state, and of its store."""
    target_branch: str | None
    commit: str
    base_commit: str | None
    execution_id: UUID
    omitted: Sequence[Mapping[str, str]]
    """`path` and `why` of changed files that the state lacks."""
    problem: str | None
    """Why the state is only partly recorded."""


@dataclass(frozen=True)
class Fork:
    """A workspace whose recorded states a new one starts from."""

    workspace_id: UUID
    node_id: str
    pool: str
    states: Mapping[str, RecordedState]
    """By the URL of the repository."""

    def state_of(self, url: str, field: str) -> RecordedState:
        """Return the state of a repository.

        Raises:
            Conflict: `no_after_state`: there is none.
        """
        found = self.states.get(url)
        if found is None:
            raise no_state(self.workspace_id, f" of {url} ({field})")
        return found

    def told(self, urls: Collection[str]) -> dict[str, Any]:
        """Return the payload of the event that tells from where the repositories of a workspace start."""
        states = [
            {
                "repo": state.name,
                "commit": state.commit,
                "execution_id": str(state.execution_id),
                "omitted": [dict(path) for path in state.omitted],
                "problem": state.problem,
            }
            for url, state in self.states.items()
            if url in urls
        ]
        return {"from_workspace_id": str(self.workspace_id), "node_id": self.node_id, "states": states}


def find(
    connection: Connection, wanted: ForkRequest, project_id: UUID, needs: Collection[str], principal: Principal
) -> Fork:
    """Return the recorded states of a workspace, whose node takes a new workspace.

    Args:
        connection: one transaction. The node is neither revoked nor detached before it ends.
        wanted: the workspace, which may be archived, failed or deleted.
        project_id: the project of the new workspace.
        needs: capabilities that the new workspace needs.
        principal: who asks.

    Raises:
        NotFound: there is no such workspace, or it belongs to another owner.
        InvalidInput: `workspace_of_other_project`, `execution_of_other_workspace`, or `needs_unmet`.
        Conflict: `no_after_state`: nothing is recorded. `workspace_gone`: it is deleted and its node has removed its
            states. `node_draining`, `node_revoked`, `node_detached`, `version.floor_exceeded`: its node, which alone
            has the states, takes no new workspace.
    """
    row = _source(connection, wanted.workspace_id, principal)
    if row["project_id"] != project_id:
        message = "the workspace belongs to another project; a fork is of the project of its source"
        raise InvalidInput(message, code="workspace_of_other_project", field=FIELD)
    if row["deleted_at"] is not None and (row["container_ref"] is None or row["purge_why"] is not None):
        message = f"workspace {wanted.workspace_id} was deleted, and its node removes what was recorded of it"
        raise Conflict(message, code="workspace_gone")
    _check_execution(connection, wanted)
    states = _states(connection, wanted)
    node_id: str | None = row["node_id"]
    if node_id is None or not states:
        raise no_state(wanted.workspace_id)
    _check_node(connection, node_id, needs)
    return Fork(wanted.workspace_id, node_id, row["pool"], states)


def of_parent(
    connection: Connection,
    parent_id: UUID,
    project_id: UUID,
    urls: Collection[str],
    needs: Collection[str],
    principal: Principal,
) -> Fork | None:
    """Return the recorded states of the parent workspace of a subtask, for an attempt that names no source.

    The request does not ask for a fork, so where that is not possible, it is no error: the attempt is none.

    Args:
        connection: one transaction.
        parent_id: the parent workspace.
        project_id: the project of the subtask.
        urls: the repositories that the attempt names; empty: those of the parent.
        needs: capabilities that the new workspace needs.
        principal: who asks.

    Returns:
        None: the parent is deleted or not visible, lacks a repository or the state of one, or its node takes no such
        workspace.
    """
    if not _has_states(connection, parent_id, principal):
        return None
    try:
        found = find(connection, ForkRequest(parent_id), project_id, needs, principal)
    except (Conflict, InvalidInput):
        return None
    return found if set(urls) <= found.states.keys() else None


def _has_states(connection: Connection, workspace_id: UUID, principal: Principal) -> bool:
    """Return whether a workspace that the principal may see is not deleted and has a state of every repository."""
    live = select(Workspace.id).where(Workspace.id == workspace_id, Workspace.deleted_at.is_(None))
    if principal.only is not None:
        live = live.where(Workspace.created_by == principal.only)
    if connection.scalar(live) is None:
        return False
    urls = connection.scalars(select(W.url).where(W.workspace_id == workspace_id)).all()
    return bool(urls) and set(urls) <= _states(connection, ForkRequest(workspace_id)).keys()


def sources_of(connection: Connection, workspace_id: UUID) -> list[UUID]:
    """Return the workspaces that a fork starts from, directly or not; empty for a workspace that is none."""
    return list(connection.scalars(_SOURCES, {"fork": workspace_id}))


def no_state(workspace_id: UUID, of: str = "") -> Conflict:
    """Return the error that there is nothing to start from."""
    message = (
        f"no state of workspace {workspace_id} is recorded{of}: Relay records one after each turn of an agent and each "
        "cleanup script; wait for one, or start from the target branch"
    )
    return Conflict(message, code="no_after_state")


def _source(connection: Connection, workspace_id: UUID, principal: Principal) -> RowMapping:
    own = (Workspace.node_id, Workspace.pool, Workspace.deleted_at, Workspace.container_ref, Workspace.purge_why)
    found = select(*own, Task.project_id).join(Task, Task.id == Workspace.task_id).where(Workspace.id == workspace_id)
    if principal.only is not None:
        found = found.where(Workspace.created_by == principal.only)
    row = connection.execute(found).mappings().one_or_none()
    if row is None:
        raise NotFound(f"there is no workspace {workspace_id}")
    return row


def _check_execution(connection: Connection, wanted: ForkRequest) -> None:
    if wanted.execution_id is None:
        return
    of = connection.scalar(select(E.workspace_id).where(E.id == wanted.execution_id))
    if of != wanted.workspace_id:
        message = f"execution {wanted.execution_id} is none of workspace {wanted.workspace_id}"
        raise InvalidInput(message, code="execution_of_other_workspace", field="from_execution")


def _states(connection: Connection, wanted: ForkRequest) -> dict[str, RecordedState]:
    which = E.dropped.is_(False) if wanted.execution_id is None else E.id == wanted.execution_id
    columns: list[Any] = [W.url, W.name, W.target_branch, W.base_commit, W.position]
    statement = (
        select(*columns, S.pinned_commit, S.stat, S.problem, E.id.label("execution_id"))
        .join(S, S.repo_id == W.repo_id)
        .join(E, (E.id == S.execution_process_id) & (E.workspace_id == W.workspace_id))
        .where(W.workspace_id == wanted.workspace_id, S.pinned_commit.is_not(None), which)
        .ext(distinct_on(W.position))
        .order_by(W.position, E.completed_at.desc(), E.id)
    )
    return {
        row["url"]: RecordedState(
            row["url"],
            row["name"],
            row["target_branch"],
            row["pinned_commit"],
            row["base_commit"],
            row["execution_id"],
            (row["stat"] or {}).get("omitted", ()),
            row["problem"],
        )
        for row in connection.execute(statement).mappings()
    }


def _check_node(connection: Connection, node_id: str, needs: Collection[str]) -> None:
    found = select(N.draining, N.revoked_at, N.declares).where(N.node_id == node_id)
    row = connection.execute(found.with_for_update(read=True, key_share=True)).one()
    where = f"the recorded states are on node {node_id} alone"
    if word := closed_by_operator(draining=row.draining, revoked=row.revoked_at is not None):
        raise Conflict(f"{where}, which is {word} and takes no new workspace", code=f"node_{word}")
    slot = attachments.slot_of(connection, node_id)
    if slot is None:
        message = f"{where}, which is detached; attach it again (`relay nodes attach {node_id}`)"
        raise Conflict(message, code="node_detached")
    if slot.read_only:
        message = f"{where}, which starts nothing: its protocol version is below the floor of its pool"
        raise Conflict(message, code="version.floor_exceeded")
    if missing := sorted(set(needs) - set(row.declares)):
        message = f"{where}, which does not declare {' and '.join(missing)}"
        raise InvalidInput(message, code="needs_unmet", field="needs")
