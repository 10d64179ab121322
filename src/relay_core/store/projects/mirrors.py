"""The git mirrors of nodes: what the worker that fetches writes, lists, and requests to remove a mirror.

A node removes a mirror on request, or after the deletion of its project, once no clone of the node uses it. These rows
are facts about a node's disk, written under the file lock of the mirror, so they do not depend on who owns the
execution that fetches.
"""

from dataclasses import dataclass
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import ColumnElement, Connection, Select, delete, func, or_, select, update
from sqlalchemy.dialects.postgresql import insert as upsert

from relay_core.domain.errors import Conflict, NotFound
from relay_core.domain.events import EventKind
from relay_core.domain.vocabulary import CloneState, Liveness, Status, WorkspaceState
from relay_core.store import events
from relay_core.store.schema.tables import (
    ExecutionProcess,
    Mirror,
    Project,
    RuntimeNode,
    Task,
    Workspace,
    WorkspaceRepo,
)
from relay_core.store.tokens import Principal
from relay_core.store.views.lookup import Among, resolve_among
from relay_core.store.views.paging import Page, PageRequest, cut, paged

E, M = ExecutionProcess, Mirror
View = dict[str, Any]
"""Fields of `relay_api.schemas.mirrors.MirrorOut`."""
NODE_CREDENTIAL = "node"
"""Name of the credential of a mirror: what the settings of its node give."""
_KEY = (M.node_id, M.project_id, M.credential, M.remote)


@dataclass(frozen=True)
class MirrorPlace:
    """A mirror by what it is of.

    Attributes:
        path: its directory on the node.
        remote: the remote's URL, without credentials.
    """

    node_id: str
    project_id: UUID
    remote: str
    path: str


@dataclass(frozen=True)
class MirrorPurge:
    """A mirror that its node is to remove, as `due_purges` found it."""

    id: UUID
    project_id: UUID
    remote: str
    fetched: Any
    """`Mirror.fetched_at`; if it has changed since, the mirror was fetched again."""


@dataclass(frozen=True)
class MirrorFilter:
    """Conditions on the mirrors of a list; None sets no condition."""

    node_id: str | None = None
    project_id: UUID | None = None


def begin_fetch(connection: Connection, place: MirrorPlace) -> None:
    """Record that a node fetches into a mirror. Nothing changes for one whose last fetch succeeded."""
    new = upsert(M).values(id=uuid4(), credential=NODE_CREDENTIAL, **vars(place))
    again = {"state": CloneState.CLONING, "error": None, "updated_at": func.now()}
    connection.execute(new.on_conflict_do_update(index_elements=_KEY, set_=again, where=M.state == CloneState.FAILED))


def end_fetch(connection: Connection, place: MirrorPlace, error: str | None = None) -> None:
    """Record that a fetch has ended.

    Args:
        connection: one transaction.
        place: the mirror.
        error: why it failed, without credentials; None: it succeeded.
    """
    now = func.clock_timestamp()
    ended: dict[str, Any] = {"error": error, "updated_at": now, "path": place.path}
    ended |= {"state": CloneState.FAILED} if error else {"state": CloneState.READY, "fetched_at": now}
    new = upsert(M).values(id=uuid4(), credential=NODE_CREDENTIAL, **{**vars(place), **ended})
    connection.execute(new.on_conflict_do_update(index_elements=_KEY, set_=ended))


def listed(connection: Connection, principal: Principal, conditions: MirrorFilter, page: PageRequest) -> Page:
    """Return a page of the mirrors of the principal's projects, newest first; an admin gets those of all owners."""
    statement = _views(principal)
    if conditions.node_id is not None:
        statement = statement.where(M.node_id == conditions.node_id)
    if conditions.project_id is not None:
        statement = statement.where(M.project_id == conditions.project_id)
    ordered = paged(statement, M.created_at, M.id, page, newest_first=True)
    return cut([_view(row) for row in connection.execute(ordered).mappings()], page)


def get(connection: Connection, mirror_id: UUID, principal: Principal) -> View:
    """Return one mirror.

    Raises:
        NotFound: there is no such mirror, or its project belongs to another owner.
    """
    row = connection.execute(_views(principal).where(M.id == mirror_id)).mappings().one_or_none()
    if row is None:
        raise NotFound(f"there is no mirror {mirror_id}")
    return _view(row)


def resolve(connection: Connection, text: str, principal: Principal, field: str) -> UUID:
    """Return the id of the mirror that a whole id, or the first digits of one, stands for.

    Args:
        connection: any transaction.
        text: the id, or its first digits (`MIN_DIGITS` or more).
        principal: the client; only mirrors of its own projects count, unless it is an admin.
        field: path of the text in the request, for errors.

    Raises:
        InvalidInput: the text cannot be an id.
        Ambiguous: several mirrors have ids that begin so; the error lists them.
        NotFound: no mirror has such an id.
    """
    among = Among("mirror", _views(principal), M.id, M.created_at, "remote")
    return resolve_among(connection, text, among, field)


def request_purge(connection: Connection, mirror_id: UUID, principal: Principal) -> View:
    """Ask the node of a mirror to remove it, and return the mirror. Asking again changes nothing.

    The next clone of the remote on that node fetches everything again.

    Raises:
        NotFound: there is no such mirror, or its project belongs to another owner.
        Conflict: `mirror_in_use`: workspaces of the node have clones that use its objects.
    """
    found = get(connection, mirror_id, principal)
    if found["workspaces"]:
        message = (
            f"clones of workspaces of node {found['node_id']} use the objects of this mirror "
            f"({found['workspaces']}); delete these workspaces first"
        )
        raise Conflict(message, code="mirror_in_use")
    first = update(M).where(M.id == mirror_id, M.purge_requested_at.is_(None))
    connection.execute(first.values(purge_requested_at=func.now()))
    return get(connection, mirror_id, principal)


def due_purges(connection: Connection, node_id: str) -> list[MirrorPurge]:
    """Return the mirrors that a node is to remove and that no clone of it uses."""
    found = select(M.id, M.project_id, M.remote, M.fetched_at).where(M.node_id == node_id, _due())
    return [MirrorPurge(*row) for row in connection.execute(found.order_by(M.created_at))]


def is_due(connection: Connection, purge: MirrorPurge) -> bool:
    """Return whether a mirror is still to be removed, and no clone uses it.

    The caller holds the mirror's file lock. A clone stores the place of its workspace, or is claimed if it has none,
    before it fetches, and fetches under that lock; so if this returns true, no clone uses what the mirror has now.
    """
    return connection.scalar(select(M.id).where(M.id == purge.id, _due())) is not None


def purged(connection: Connection, purge: MirrorPurge) -> None:
    """Remove the row of a mirror whose files are gone, with an event; nothing if it was fetched again since."""
    same = M.fetched_at.is_not_distinct_from(purge.fetched)
    gone = delete(M).where(M.id == purge.id, _wanted_gone(), same).returning(M.node_id, M.purge_requested_at)
    row = connection.execute(gone).one_or_none()
    if row is not None:
        why = "the project was deleted" if row.purge_requested_at is None else "its removal was requested"
        payload = {"node_id": row.node_id, "remote": purge.remote, "why": why}
        events.append_to_project(connection, purge.project_id, EventKind.MIRROR_PURGED, payload)


def _due() -> ColumnElement[bool]:
    """Whether the mirror `M` of the query is to be removed, and no clone uses it."""
    return _wanted_gone() & ~_used().exists() & ~_cloning()


def _wanted_gone() -> ColumnElement[bool]:
    deleted = select(Project.id).where(Project.id == M.project_id, Project.deleted_at.is_not(None)).correlate(M)
    return M.purge_requested_at.is_not(None) | deleted.exists()


def _cloning() -> ColumnElement[bool]:
    """Whether a clone of the project of the mirror `M` of the query runs on its node, without a workspace."""
    running = (E.project_id == M.project_id) & (E.node_id == M.node_id) & (E.status == Status.RUNNING)
    return select(E.id).where(running).correlate(M).exists()


def _used(what: Any = Workspace.id) -> Select[Any]:
    """Return a query for ``what`` of the workspaces whose clones may use the mirror `M` of the outer query.

    A workspace counts from the moment at which its place is stored, before anything is fetched for it, until its node
    has removed its files.
    """
    return (
        select(what)
        .select_from(Workspace)
        .join(Task, Task.id == Workspace.task_id)
        .join(WorkspaceRepo, WorkspaceRepo.workspace_id == Workspace.id)
        .where(Workspace.node_id == M.node_id, Task.project_id == M.project_id, WorkspaceRepo.url == M.remote)
        .where(_has_files())
        .correlate(M)
    )


def _has_files() -> ColumnElement[bool]:
    """Whether a workspace has files on its node, or may get them now; the end of a failed clone clears the user id."""
    W = Workspace  # noqa: N806 - a table
    kept = or_(W.state != WorkspaceState.FAILED, W.container_id.is_not(None), W.uid.is_not(None))
    return W.container_ref.is_not(None) & kept


def _views(principal: Principal) -> Select[Any]:
    used = _used(func.count()).scalar_subquery()
    names = "id node_id project_id credential remote state error fetched_at purge_requested_at created_at updated_at"
    columns = [getattr(M, name) for name in names.split()]
    statement = (
        select(
            *columns,
            used.label("workspaces"),
            _cloning().label("cloning"),
            RuntimeNode.liveness,
            Project.name.label("project"),
        )
        .join(RuntimeNode, RuntimeNode.node_id == M.node_id)
        .join(Project, Project.id == M.project_id)
    )
    return statement if principal.only is None else statement.where(Project.created_by == principal.only)


def _view(row: Any) -> View:
    view = dict(row)
    away, cloning = view.pop("liveness") == Liveness.OFFLINE, view.pop("cloning")
    waits = None
    if view["purge_requested_at"] is not None:
        waits = "workspaces" if view["workspaces"] else "offline" if away else "clone" if cloning else "node"
    return {**view, "purge_waits_for": waits}
