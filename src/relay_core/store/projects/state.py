"""The stored state of a project: written after each change of its mirrors and of its clones, and evented."""

from collections.abc import Callable
from typing import NamedTuple
from uuid import UUID

from sqlalchemy import Connection, func, or_, select, update

from relay_core.domain.events import EventKind
from relay_core.domain.project_state import CloneFacts, ProjectState, next_state
from relay_core.domain.vocabulary import ACTIVE, CloneState
from relay_core.store import events
from relay_core.store.schema.tables import ExecutionProcess, Mirror, Project, ProjectRepo, Repo

E, M = ExecutionProcess, Mirror


Act = Callable[[Connection, UUID], None]
"""Gets the transaction, and the project whose row it has locked."""
_when_ready: list[Act] = []


class _Stored(NamedTuple):
    state: CloneState
    clone_error: str | None


def settle(connection: Connection, project_id: UUID, error: str | None = None, *, of_run: bool = False) -> None:
    """Write the state that a project has now, with an event; nothing is written if it has it already.

    The project's row is locked only for a change.

    Args:
        connection: one transaction. It sees what other transactions have committed, so call it in one that begins after
            the commit of the change.
        project_id: the project; a deleted one is left as it is.
        error: why a clone failed that ended in this transaction, without credentials; None: none did.
        of_run: whether it is the clone of a run. That can fail for reasons of its own, so a project that was ready
            stays so unless a fetch failed.
    """
    before = _stored(connection, project_id, lock=False)
    if of_run and before is not None and before.state is CloneState.READY:
        error = None
    if before is None or next_state(before.state, _facts(connection, project_id, error)) == ProjectState(*before):
        return
    before = _stored(connection, project_id, lock=True)
    if before is None:
        return
    after = next_state(before.state, _facts(connection, project_id, error))
    if after == ProjectState(*before):
        return
    values = {"state": after.state, "clone_error": after.clone_error, "updated_at": func.now()}
    connection.execute(update(Project).where(Project.id == project_id).values(values))
    payload = {"project_id": str(project_id), "state": after.state, "clone_error": after.clone_error}
    events.append_to_project(connection, project_id, EventKind.PROJECT_STATE_CHANGED, payload)
    if after.state is CloneState.READY:
        for act in _when_ready:
            act(connection, project_id)


def when_ready(act: Act) -> Act:
    """Let a function be called in each transaction that makes a project ready. It is a decorator.

    The modules of such functions build on this one, so it cannot call them by their names.
    """
    _when_ready.append(act)
    return act


def _stored(connection: Connection, project_id: UUID, *, lock: bool) -> _Stored | None:
    statement = select(Project.state, Project.clone_error).where(Project.id == project_id, Project.deleted_at.is_(None))
    row = connection.execute(statement.with_for_update(key_share=True) if lock else statement).one_or_none()
    return None if row is None else _Stored(CloneState(row.state), row.clone_error)


def _facts(connection: Connection, project_id: UUID, error: str | None) -> CloneFacts:
    wanted = select(Repo.path).join(ProjectRepo, ProjectRepo.repo_id == Repo.id)
    remotes = connection.scalars(wanted.where(ProjectRepo.project_id == project_id)).all()
    mine = (M.project_id == project_id) & M.remote.in_(remotes)
    most = select(func.count(func.distinct(M.remote))).where(mine, M.fetched_at.is_not(None)).group_by(M.node_id)
    had = max(connection.scalars(most), default=0)
    cloning = select(E.id).where(E.project_id == project_id, E.status.in_(ACTIVE)).exists()
    fetching = select(M.id).where(mine, M.state == CloneState.CLONING).exists()
    under_way = bool(connection.scalar(select(or_(cloning, fetching))))
    latest = select(M.error).where(mine).order_by(M.updated_at.desc()).limit(1)
    return CloneFacts(had == len(remotes), under_way, error or connection.scalar(latest))
