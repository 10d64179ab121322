"""Routes of delegations: write leases of subtasks, and what a workspace may write and lease."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query
from starlette.responses import JSONResponse

from relay_api.dependencies import Creating, Paging, Reader, ServicesDep, Writer
from relay_api.http.responses import problems
from relay_api.ids import WorkspaceId
from relay_api.schemas.delegations import (
    DelegationIn,
    DelegationOut,
    DelegationPage,
    Release,
    ScopeIn,
    ScopeOut,
    ScopeRuleIn,
)
from relay_core.domain.scope import DelegationState, Permission
from relay_core.store.database import Connection
from relay_core.store.delegations import delegations
from relay_core.store.delegations.delegations import NewDelegation, RuleInput
from relay_core.store.views.access import require_workspace
from relay_core.store.views.lookup import Kind, resolve
from relay_core.store.views.paging import Page

router = APIRouter(tags=["delegations"])

StateFilter = Annotated[DelegationState | None, Query()]


@router.post(
    "/v1/delegations",
    status_code=201,
    response_model=DelegationOut,
    responses=problems(404, 409, body=True),
    summary="Lease a part of a workspace to a subtask",
)
def create_delegation(body: DelegationIn, services: ServicesDep, principal: Writer, creating: Creating) -> JSONResponse:
    """Reserve paths, or the whole branch, of a workspace for the workspace of a subtask.

    From now on Relay commits nothing there in the parent's workspace, and nothing elsewhere in the child's.
    """

    def create(connection: Connection) -> DelegationOut:
        ids = {"parent_workspace_id": body.parent_workspace_id, "child_workspace_id": body.child_workspace_id}
        parent, child = (
            resolve(connection, Kind.WORKSPACE, text, principal, aim=None, field=field) for field, text in ids.items()
        )
        wanted = NewDelegation(parent, child, body.name, _rules(body.rules), body.reservation_seconds)
        made = delegations.delegate(connection, wanted, principal, services.settings.presence)
        return DelegationOut.model_validate(made)

    return creating.answer(principal, body, 201, create)


@router.get("/v1/delegations", responses=problems(), summary="List delegations, newest first")
def list_delegations(
    services: ServicesDep, principal: Reader, page: Paging, state: StateFilter = None
) -> DelegationPage:
    """List the delegations of your workspaces, also those that have ended."""
    with services.database.connect() as connection:
        return _page(delegations.listed(connection, principal, page, state=state))


@router.get("/v1/delegations/{delegation_id}", responses=problems(404), summary="Get a delegation")
def get_delegation(delegation_id: UUID, services: ServicesDep, principal: Reader) -> DelegationOut:
    """Return one delegation."""
    with services.database.connect() as connection:
        return DelegationOut.model_validate(delegations.get(connection, delegation_id, principal))


@router.post(
    "/v1/delegations/{delegation_id}/release",
    responses=problems(404, 409, body=True),
    summary="End a delegation",
)
def release_delegation(
    delegation_id: UUID, services: ServicesDep, principal: Writer, body: Release | None = None
) -> DelegationOut:
    """End a delegation: its parent may write there again. What its child has leased on belongs to the parent then."""
    epoch = None if body is None else body.epoch
    with services.database.begin() as connection:
        return DelegationOut.model_validate(delegations.release(connection, delegation_id, principal, epoch))


@router.get(
    "/v1/workspaces/{workspace_id}/delegations",
    responses=problems(404),
    summary="List the delegations of a workspace",
)
def list_delegations_of_workspace(
    workspace_id: WorkspaceId, services: ServicesDep, principal: Reader, page: Paging, state: StateFilter = None
) -> DelegationPage:
    """List the delegations that the workspace has given, and the one that it has got, newest first."""
    with services.database.connect() as connection:
        require_workspace(connection, workspace_id, principal, deleted_too=True)
        return _page(delegations.listed(connection, principal, page, workspace_id, state))


@router.get("/v1/workspaces/{workspace_id}/scope", responses=problems(404, 409), summary="Get the scope of a workspace")
def get_scope(workspace_id: WorkspaceId, services: ServicesDep, principal: Reader) -> ScopeOut:
    """Return what the workspace may write, and what it may lease."""
    with services.database.connect() as connection:
        return ScopeOut.model_validate(delegations.scope_of(connection, workspace_id, principal))


@router.put(
    "/v1/workspaces/{workspace_id}/scope",
    responses=problems(404, 409, body=True),
    summary="Set what a workspace may lease",
)
def set_scope(workspace_id: WorkspaceId, body: ScopeIn, services: ServicesDep, principal: Writer) -> ScopeOut:
    """Set what the workspace may lease to subtasks, and what it may not write. Leases that exist stay."""
    delegable = None if body.delegable is None else _rules(body.delegable)
    with services.database.begin() as connection:
        made = delegations.set_scope(connection, workspace_id, delegable, _rules(body.denied), principal)
    return ScopeOut.model_validate(made)


def _rules(given: list[ScopeRuleIn]) -> list[RuleInput]:
    return [RuleInput(rule.repo, rule.path, Permission(rule.permission)) for rule in given]


def _page(found: Page) -> DelegationPage:
    return DelegationPage(
        items=[DelegationOut.model_validate(each) for each in found.items], next_cursor=found.next_cursor
    )
