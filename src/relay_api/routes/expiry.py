"""Routes of the expiry of idle workspaces: what comes next, and the work that was kept before a deletion."""

from dataclasses import asdict

from fastapi import APIRouter
from starlette.responses import Response

from relay_api.dependencies import Reader, ServicesDep
from relay_api.http.responses import problems, raw
from relay_api.ids import WorkspaceId
from relay_api.routes.diffs import (
    BUNDLE_TYPE,
    PATCH_TYPE,
    Accept,
    BundleRepo,
    Format,
    bundle_answer,
    patch_answer,
    wants_patch,
)
from relay_api.schemas.expiry import ExpiryOut, KeptList, KeptOut, NextActOut, shown_stat
from relay_api.schemas.previews import NoteOut
from relay_core.store.views.access import require_workspace
from relay_core.store.workspaces import expiry, kept

router = APIRouter(prefix="/v1/workspaces", tags=["workspaces"])
_KEPT = {**problems(404), 200: raw("What was kept, or the patch.", PATCH_TYPE)}
_BUNDLE = {**problems(404), 200: raw("The bundle.", BUNDLE_TYPE, "application/octet-stream")}


@router.get("/{workspace_id}/expiry", responses=problems(404), summary="Get what an idle workspace expects")
def get_expiry(workspace_id: WorkspaceId, services: ServicesDep, principal: Reader) -> ExpiryOut:
    """Return which act of Relay comes next if nothing happens in the workspace, and what speaks against it.

    An idle workspace is stopped, then archived, then deleted, each after the hours that its project or the server says.
    """
    hours = expiry.hours_of(services.settings)
    with services.database.connect() as connection:
        found = expiry.of_workspace(connection, workspace_id, hours, principal)
    act = found.planned and NextActOut(
        act=found.planned.act,
        hours=found.planned.term.hours,
        in_seconds=found.planned.in_seconds,
        setting=found.setting or "",
    )
    notes = [NoteOut(**asdict(note)) for note in found.blockers]
    return ExpiryOut(
        workspace_id=workspace_id, idle_seconds=found.idle_seconds, pinned=found.pinned, next=act, blockers=notes
    )


@router.get(
    "/{workspace_id}/kept", response_model=KeptList, responses=_KEPT, summary="Get the kept work of a deleted workspace"
)
def get_kept(
    workspace_id: WorkspaceId,
    services: ServicesDep,
    principal: Reader,
    format: Format = None,  # noqa: A002 - the parameter's public name
    accept: Accept = None,
) -> Response:
    """Return the work trees that were stored before Relay deleted the idle workspace; empty for any other workspace.

    Changes that were not committed are in them. The patch leads from the commit where the branch started.
    """
    with services.database.connect() as connection:
        require_workspace(connection, workspace_id, principal, deleted_too=True)
        if wants_patch(format, accept):
            return patch_answer(kept.patch(connection, workspace_id))
        found = kept.of_workspace(connection, workspace_id)
    items = [KeptOut.model_validate({**asdict(one), "stat": shown_stat(one.stat)}) for one in found]
    return Response(KeptList(items=items).model_dump_json(), media_type="application/json")


@router.get(
    "/{workspace_id}/kept/bundle",
    response_class=Response,
    responses=_BUNDLE,
    summary="Git bundle of the kept work of a deleted workspace",
)
def get_kept_bundle(
    workspace_id: WorkspaceId,
    services: ServicesDep,
    principal: Reader,
    repo: BundleRepo = None,
    accept: Accept = None,
) -> Response:
    """Return the commits from the workspace's base commit to the kept work tree of one repository, for `git fetch`."""
    with services.database.connect() as connection:
        require_workspace(connection, workspace_id, principal, deleted_too=True)
        return bundle_answer(kept.bundle(connection, workspace_id, repo), accept)
