"""Use cases of the API on delegations: request, read, list, release; and what a workspace may lease."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import Connection, RowMapping, Select, exists, func, insert, or_, select
from sqlalchemy.dialects.postgresql import insert as upsert

from relay_core.domain import scope
from relay_core.domain.errors import Conflict, InvalidInput, NotFound
from relay_core.domain.events import EventKind
from relay_core.domain.nodes import Bounds
from relay_core.domain.scope import LIVE, DelegationState, Permission, Rule
from relay_core.store import events
from relay_core.store.delegations import reconcile, records, scopes
from relay_core.store.schema.tables import ScopeDelegation, Task, Workspace, WorkspaceScope
from relay_core.store.tokens import Principal
from relay_core.store.views.access import require_workspace
from relay_core.store.views.paging import Page, PageRequest, cut, paged

D = ScopeDelegation
View = dict[str, Any]


@dataclass(frozen=True)
class RuleInput:
    """Paths of a repository of the workspace, by its name there; without a name its only one."""

    repo: str | None = None
    path: str = scope.WHOLE_BRANCH
    permission: Permission = Permission.WRITE


@dataclass(frozen=True)
class NewDelegation:
    """A delegation as `POST /v1/delegations` asks for it."""

    parent_workspace_id: UUID
    child_workspace_id: UUID
    name: str
    rules: Sequence[RuleInput]
    reservation_seconds: float


def delegate(connection: Connection, wanted: NewDelegation, principal: Principal, bounds: Bounds) -> View:
    """Reserve a part of what a workspace may write for the workspace of a subtask, and return the delegation.

    Args:
        connection: one transaction.
        wanted: the delegation.
        principal: who asks.
        bounds: say after which silence the node of a child is offline.

    Raises:
        NotFound: a workspace does not exist, is deleted, or belongs to another owner.
        InvalidInput: `scope_not_subset`; a rule names no repository of both workspaces; the name or a path is invalid;
            or the workspaces are not of one project.
        Conflict: `scope_not_delegable`, `scope_write_conflict`, `delegation_exists` (the workspace has or had one, or
            has given one), `workspace_archived`, or `delegation_corrupt`.
    """
    _check_name(wanted.name)
    parent, child = wanted.parent_workspace_id, wanted.child_workspace_id
    for workspace_id in (parent, child):
        require_workspace(connection, workspace_id, principal)
    scopes.lock(connection, parent)
    _check_child(connection, parent, child)
    names = scopes.repo_names(connection, parent)
    rules = [_rule(one, names, f"rules.{at}") for at, one in enumerate(wanted.rules)]
    theirs = scopes.repo_names(connection, child)
    for at, rule in enumerate(rules):
        if rule.repo_id not in theirs:
            message = f"workspace {child} has no repository {names[rule.repo_id]}"
            raise InvalidInput(message, code="repo_unknown", field=f"rules.{at}.repo")
    allowed = scopes.effective(connection, parent)
    if scopes.leased(connection, parent):
        reconcile.judge_children(connection, parent, {}, bounds)
        allowed = scopes.effective(connection, parent)
    delegable = scopes.own_scope(connection, parent).delegable
    scope.check_request(rules, allowed, scopes.leased(connection, parent), delegable)
    values = {
        "id": uuid4(),
        "name": wanted.name,
        "parent_workspace_id": parent,
        "child_workspace_id": child,
        "rules": scope.rules_to_json(rules),
        "created_by": principal.owner,
        "expires_at": func.now() + timedelta(seconds=wanted.reservation_seconds),
    }
    row = connection.execute(insert(D).values(values).returning(*D.__table__.columns)).mappings().one()
    records.tell(connection, parent, EventKind.DELEGATION_RESERVED, row)
    for above in scopes.ancestors(connection, parent):
        records.tell(connection, above, EventKind.DELEGATION_SUB_DELEGATED, row)
    return get(connection, row["id"], principal)


def get(connection: Connection, delegation_id: UUID, principal: Principal) -> View:
    """Return a delegation.

    Raises:
        NotFound: there is no such delegation, or its parent workspace belongs to another owner.
    """
    return _view(connection, _find(connection, delegation_id, principal))


def listed(
    connection: Connection,
    principal: Principal,
    page: PageRequest,
    workspace_id: UUID | None = None,
    state: DelegationState | None = None,
) -> Page:
    """Return a page of delegations, newest first: all, or those that name a workspace as parent or child."""
    statement = _visible(principal)
    if workspace_id is not None:
        statement = statement.where(or_(D.parent_workspace_id == workspace_id, D.child_workspace_id == workspace_id))
    if state is not None:
        statement = statement.where(D.state == state)
    rows = connection.execute(paged(statement, D.created_at, D.id, page, newest_first=True)).mappings()
    return cut([_view(connection, row) for row in rows], page)


def of_workspaces(connection: Connection, principal: Principal, ids: Sequence[UUID], most: int) -> list[View]:
    """Return the newest delegations that name one of some workspaces as parent or child."""
    named = or_(D.parent_workspace_id.in_(ids), D.child_workspace_id.in_(ids))
    newest = _visible(principal).where(named).order_by(D.created_at.desc(), D.id.desc()).limit(most)
    return [_view(connection, row) for row in connection.execute(newest).mappings()] if ids else []


def release(connection: Connection, delegation_id: UUID, principal: Principal, epoch: int | None = None) -> View:
    """End a delegation, and return it. One that has ended stays as it is.

    Raises:
        NotFound: there is no such delegation, or its parent workspace belongs to another owner.
        Conflict: `scope_stale_epoch`: it is not of the epoch that the client knows.
    """
    found = _find(connection, delegation_id, principal)
    scopes.lock(connection, found["parent_workspace_id"])
    found = _find(connection, delegation_id, principal)
    if epoch is not None and epoch != found["epoch"]:
        message = f"the delegation has epoch {found['epoch']}, not {epoch}: it has ended since; read it again"
        raise Conflict(message, code="scope_stale_epoch")
    if found["state"] in LIVE:
        records.release(connection, found, principal.owner)
    return get(connection, delegation_id, principal)


def set_scope(
    connection: Connection,
    workspace_id: UUID,
    delegable: Sequence[RuleInput] | None,
    denied: Sequence[RuleInput],
    principal: Principal,
) -> View:
    """Set what a workspace may lease, and what is denied to it; return `scope_of`. Leases that exist stay.

    Raises:
        NotFound: the workspace does not exist, is deleted, or belongs to another owner.
        InvalidInput: a rule names no repository of the workspace, or its path is invalid.
    """
    require_workspace(connection, workspace_id, principal)
    scopes.lock(connection, workspace_id)
    names = scopes.repo_names(connection, workspace_id)
    values = {
        "delegable": None if delegable is None else _stored(delegable, names, "delegable"),
        "denied": _stored(denied, names, "denied"),
        "updated_at": func.now(),
    }
    made = upsert(WorkspaceScope).values(workspace_id=workspace_id, **values)
    connection.execute(made.on_conflict_do_update(index_elements=["workspace_id"], set_=values))
    shown = {
        "delegable": None if delegable is None else records.rules_shown(values["delegable"], names),
        "denied": records.rules_shown(values["denied"], names),
        "by": principal.owner,
    }
    events.append(connection, workspace_id, EventKind.SCOPE_CHANGED, shown)
    return scope_of(connection, workspace_id, principal)


def scope_of(connection: Connection, workspace_id: UUID, principal: Principal) -> View:
    """Return what a workspace may write and lease, as answers show it.

    Raises:
        NotFound: there is no such workspace, or it belongs to another owner.
        Conflict: `delegation_corrupt`.
    """
    require_workspace(connection, workspace_id, principal, deleted_too=True)
    names = scopes.repo_names(connection, workspace_id)
    own = scopes.own_scope(connection, workspace_id)
    allowed = scopes.effective(connection, workspace_id)

    def shown(rules: Sequence[Rule] | None) -> Any:
        return None if rules is None else records.rules_shown(scope.rules_to_json(rules), names)

    return {
        "workspace_id": workspace_id,
        "restricted": allowed.restricted,
        "held": shown(allowed.held),
        "excluded": shown(allowed.excluded),
        "delegable": shown(own.delegable),
        "denied": shown(own.denied),
    }


def _check_name(name: str) -> None:
    if not name or name in (".", "..") or "/" in name or "\0" in name:
        message = "the name must not be empty, `.` or `..`, and must have no slash and no NUL"
        raise InvalidInput(message, code="name_invalid", field="name")


def _check_child(connection: Connection, parent: UUID, child: UUID) -> None:
    columns = (Workspace.id, Workspace.archived, Task.project_id)
    found = select(*columns).join(Task, Task.id == Workspace.task_id).where(Workspace.id.in_([parent, child]))
    rows = {row.id: row for row in connection.execute(found)}
    if parent == child or rows[parent].project_id != rows[child].project_id:
        message = "must be another workspace of the same project"
        raise InvalidInput(message, code="child_invalid", field="child_workspace_id")
    if rows[child].archived or rows[parent].archived:
        raise Conflict("an archived workspace takes part in no delegation", code="workspace_archived")
    bound = or_(D.child_workspace_id == child, (D.parent_workspace_id == child) & scopes.live())
    if (other := connection.scalar(select(D.id).where(bound))) is not None:
        message = f"workspace {child} has delegation {other} already; make another workspace for the subtask"
        raise Conflict(message, code="delegation_exists")


def _stored(rules: Sequence[RuleInput], names: dict[UUID, str], field: str) -> list[dict[str, str]]:
    return scope.rules_to_json(_rule(one, names, f"{field}.{at}") for at, one in enumerate(rules))


def _rule(given: RuleInput, names: dict[UUID, str], field: str) -> Rule:
    by_name = {name: repo_id for repo_id, name in names.items()}
    if given.repo is None and len(by_name) != 1:
        message = f"say which repository: {', '.join(sorted(by_name))}"
        raise InvalidInput(message, code="repo_ambiguous", field=f"{field}.repo")
    name = next(iter(by_name)) if given.repo is None else given.repo
    if name not in by_name:
        message = f"the workspace has no repository {name}; it has {', '.join(sorted(by_name))}"
        raise InvalidInput(message, code="repo_unknown", field=f"{field}.repo")
    try:
        path = scope.clean_path(given.path)
    except ValueError as error:
        raise InvalidInput(f"the path {error}", code="path_invalid", field=f"{field}.path") from error
    return Rule(by_name[name], path, given.permission)


def _visible(principal: Principal) -> Select[Any]:
    statement = select(*D.__table__.columns, (~scopes.live() & (D.state == DelegationState.RESERVED)).label("expired"))
    if principal.only is not None:
        mine = exists().where(Workspace.id == D.parent_workspace_id, Workspace.created_by == principal.only)
        statement = statement.where(mine)
    return statement


def _find(connection: Connection, delegation_id: UUID, principal: Principal) -> RowMapping:
    row = connection.execute(_visible(principal).where(D.id == delegation_id)).mappings().one_or_none()
    if row is None:
        raise NotFound(f"there is no delegation {delegation_id}")
    return row


def _view(connection: Connection, row: RowMapping) -> View:
    names = scopes.repo_names(connection, row["parent_workspace_id"])
    return {**row, "rules": records.rules_shown(row["rules"], names)}
