"""Routes of what a run changed: the diff of each repository, and its patch."""

from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Query
from starlette.responses import Response

from relay_api.dependencies import ServicesDep
from relay_api.page.browser import SignedIn
from relay_api.page.log import SANDBOX
from relay_api.page.patch_view import file_views
from relay_api.page.rendering import PageRoute, render
from relay_api.page.runs import load_run
from relay_core.domain.errors import NotFound
from relay_core.store.database import Connection
from relay_core.store.workspaces import diffs
from relay_core.store.workspaces.bundles import NOT_RECORDED, UNCHANGED
from relay_core.store.workspaces.diffs import RepoDiff

router = APIRouter(prefix="/runs/{run_id}", include_in_schema=False, route_class=PageRoute)


@router.get("/changes")
def show_changes(run_id: UUID, services: ServicesDep, browser: SignedIn, *, whole: bool = False) -> Response:
    """Return the diff of each repository: what the run changed or, with ``whole``, its workspace so far."""
    with services.database.connect() as connection:
        of_run = load_run(connection, services, browser.principal, run_id)
        found = _diffs(connection, of_run.run, whole=whole)
    values = {"run": of_run.run, "tab": "changes", "whole": whole, "diffs": [_shown(diff) for diff in found]}
    return render("changes.html", values, browser=browser)


@router.get("/changes.patch")
def read_patch(
    run_id: UUID,
    services: ServicesDep,
    browser: SignedIn,
    repo: Annotated[str, Query(max_length=255)],
    *,
    whole: bool = False,
) -> Response:
    """Return the patch of one repository as a download."""
    with services.database.connect() as connection:
        of_run = load_run(connection, services, browser.principal, run_id)
        found = _diffs(connection, of_run.run, whole=whole)
    patch = next((diff.patch for diff in found if diff.name == repo and diff.patch is not None), None)
    if patch is None:
        raise NotFound("there is no patch of this repository yet")
    headers = {
        "Content-Security-Policy": SANDBOX,
        "Content-Disposition": 'attachment; filename="changes.patch"',
        "Content-Type": "text/x-diff",
    }
    return Response(patch, headers=headers)


def _diffs(connection: Connection, run: dict[str, Any], *, whole: bool) -> list[RepoDiff]:
    if whole:
        return diffs.of_workspace(connection, run["workspace_id"], with_patch=True)
    return diffs.of_run(connection, run["id"], run["workspace_id"], with_patch=True)


def _shown(diff: RepoDiff) -> dict[str, Any]:
    views, more = file_views(diff.patch or b"")
    return {
        "name": diff.name,
        "base": diff.base_commit,
        "stat": diff.stat,
        "masked": diff.masked,
        "excluded": diff.excluded,
        "patterns": list(dict.fromkeys(file["pattern"] for file in diff.excluded)),
        "bundle_problem": None if diff.bundle_problem in {NOT_RECORDED, UNCHANGED} else diff.bundle_problem,
        "files": views,
        "cut": more,
    }
