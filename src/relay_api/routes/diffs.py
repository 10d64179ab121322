"""Routes of the changes of workspaces and executions: statistics as JSON, patches and git bundles as attachments."""

from collections.abc import Sequence
from typing import Annotated, Literal

from fastapi import APIRouter, Header, Query, Request
from starlette.responses import Response

from relay_api.dependencies import Reader, ServicesDep
from relay_api.http.links import Links
from relay_api.http.problems import ApiError
from relay_api.http.responses import problems, raw
from relay_api.ids import ExecutionId, RunId, WorkspaceId
from relay_api.schemas import answers
from relay_api.schemas.executions import ChangedFilesList, DiffList
from relay_api.schemas.patterns import NO_NUL
from relay_core.store.views.access import require_execution, require_run, require_workspace
from relay_core.store.workspaces import bundles, diffs

router = APIRouter(prefix="/v1", tags=["diffs"])

PATCH_TYPE = "text/x-diff"
Format = Annotated[
    Literal["json", "patch"] | None, Query(description="`patch`: the patch itself, as `Accept: text/x-diff` does.")
]
RepoName = Annotated[
    str | None, Query(max_length=255, pattern=NO_NUL, description="Only this repository; of several the patch is one "
    "file with a line `# repo: NAME` before each.")
]  # fmt: skip
BUNDLE_TYPE = "application/x-git-bundle"
_BYTES = "application/octet-stream"
"""Also a type of bundles, because generators of clients do not know the other; for requests that accept no other."""
BundleRepo = Annotated[
    str | None,
    Query(max_length=255, pattern=NO_NUL, description="Name of the repository; needed when there are several."),
]
Accept = Annotated[str | None, Header(include_in_schema=False)]
_BUNDLE_ANSWERS = {**problems(404), 200: raw("The bundle.", BUNDLE_TYPE, _BYTES)}
_ANSWERS = {**problems(404), 200: raw("Statistics, or the patch.", PATCH_TYPE)}


@router.get(
    "/workspaces/{workspace_id}/diff", response_model=DiffList, responses=_ANSWERS, summary="Diff of a workspace"
)
def workspace_diff(
    workspace_id: WorkspaceId,
    request: Request,
    services: ServicesDep,
    principal: Reader,
    format: Format = None,  # noqa: A002 - the parameter's public name
    repo: RepoName = None,
    accept: Accept = None,
) -> Response:
    """Return what changed in each repository between the commit where its branch started and its last recorded state.

    Uncommitted files are included.
    """
    patch = wants_patch(format, accept)
    with services.database.connect() as connection:
        require_workspace(connection, workspace_id, principal)
        found = diffs.of_workspace(connection, workspace_id, with_patch=patch)
    return _answer(_only(found, repo), request.url.path, services.links, patch=patch)


@router.get("/workspaces/{workspace_id}/diff/files", responses=problems(404), summary="Changed files of a workspace")
def workspace_diff_files(
    workspace_id: WorkspaceId, services: ServicesDep, principal: Reader, repo: RepoName = None
) -> ChangedFilesList:
    """Return the files that the workspace changed, compared with the target branch where its work begins.

    A rebase moves that begin to the present commit of the target branch. The answer comes from the last recorded
    state, so it needs neither the node nor the container. Uncommitted files are included.
    """
    with services.database.connect() as connection:
        require_workspace(connection, workspace_id, principal)
        found = _only(diffs.of_workspace(connection, workspace_id, with_patch=True), repo)
        targets = diffs.target_branches(connection, workspace_id)
    return ChangedFilesList(items=[answers.changed_files(diff, targets.get(diff.repo_id)) for diff in found])


@router.get(
    "/executions/{execution_id}/diff", response_model=DiffList, responses=_ANSWERS, summary="Diff of an execution"
)
def execution_diff(
    execution_id: ExecutionId,
    request: Request,
    services: ServicesDep,
    principal: Reader,
    format: Format = None,  # noqa: A002 - the parameter's public name
    repo: RepoName = None,
    accept: Accept = None,
) -> Response:
    """Return what one execution changed, compared with the commits at its start.

    The list is empty if the git state was not recorded after the execution.
    """
    patch = wants_patch(format, accept)
    with services.database.connect() as connection:
        require_execution(connection, execution_id, principal)
        found = diffs.of_execution(connection, execution_id, with_patch=patch)
    return _answer(_only(found, repo), request.url.path, services.links, patch=patch)


@router.get("/runs/{run_id}/diff", response_model=DiffList, responses=_ANSWERS, summary="Diff of a run")
def run_diff(
    run_id: RunId,
    request: Request,
    services: ServicesDep,
    principal: Reader,
    format: Format = None,  # noqa: A002 - the parameter's public name
    repo: RepoName = None,
    accept: Accept = None,
) -> Response:
    """Return what the steps of a run changed together: from HEAD before its first step to its last recorded state.

    What setup and cleanup scripts changed is in it, and so are uncommitted files, also those that were there before the
    run. Where the commit before the run is not kept, the diff begins at the workspace's base commit (`base_commit`).
    """
    patch = wants_patch(format, accept)
    with services.database.connect() as connection:
        workspace_id = require_run(connection, run_id, principal)
        found = diffs.of_run(connection, run_id, workspace_id, with_patch=patch)
    return _answer(_only(found, repo), request.url.path, services.links, patch=patch)


@router.get(
    "/workspaces/{workspace_id}/bundle",
    response_class=Response,
    responses=_BUNDLE_ANSWERS,
    summary="Git bundle of a workspace",
)
def workspace_bundle(
    workspace_id: WorkspaceId,
    services: ServicesDep,
    principal: Reader,
    repo: BundleRepo = None,
    accept: Accept = None,
) -> Response:
    """Return the commits that the workspace added to one repository, with its last recorded state, for `git fetch`.

    The only ref of the bundle is the workspace's branch; its prerequisite is the workspace's base commit. Uncommitted
    files are in a commit of their own at the end.
    """
    with services.database.connect() as connection:
        require_workspace(connection, workspace_id, principal)
        return bundle_answer(bundles.of_workspace(connection, workspace_id, repo), accept)


@router.get("/runs/{run_id}/bundle", response_class=Response, responses=_BUNDLE_ANSWERS, summary="Git bundle of a run")
def run_bundle(
    run_id: RunId, services: ServicesDep, principal: Reader, repo: BundleRepo = None, accept: Accept = None
) -> Response:
    """Return the commits from the workspace's base commit to the last state that the run left in one repository."""
    with services.database.connect() as connection:
        workspace_id = require_run(connection, run_id, principal)
        return bundle_answer(bundles.of_run(connection, run_id, workspace_id, repo), accept)


@router.get(
    "/executions/{execution_id}/bundle",
    response_class=Response,
    responses=_BUNDLE_ANSWERS,
    summary="Git bundle of an execution",
)
def execution_bundle(
    execution_id: ExecutionId,
    services: ServicesDep,
    principal: Reader,
    repo: BundleRepo = None,
    accept: Accept = None,
) -> Response:
    """Return the commits from the workspace's base commit to the state that one execution left in one repository."""
    with services.database.connect() as connection:
        require_execution(connection, execution_id, principal)
        return bundle_answer(bundles.of_execution(connection, execution_id, repo), accept)


def bundle_answer(found: bundles.RepoBundle, accept: str | None) -> Response:
    """Return a bundle as an attachment, in the type that the request accepts."""
    disposition = {"Content-Disposition": f'attachment; filename="{found.name}.bundle"'}
    only_bytes = accept is not None and _BYTES in accept and BUNDLE_TYPE not in accept
    return Response(found.content, headers=disposition, media_type=_BYTES if only_bytes else BUNDLE_TYPE)


def wants_patch(asked: str | None, accept: str | None) -> bool:
    """Return whether a request asks for the patch itself."""
    if asked is not None:
        return asked == "patch"
    return accept is not None and PATCH_TYPE in accept and "application/json" not in accept


def _only(found: Sequence[diffs.RepoDiff], repo: str | None) -> list[diffs.RepoDiff]:
    wanted = [diff for diff in found if repo in (None, diff.name)]
    if repo is not None and not wanted:
        names = ", ".join(diff.name for diff in found) or "none"
        raise ApiError(404, "not_found", f"there is no diff of a repository of that name here; there are: {names}")
    return wanted


def _answer(found: list[diffs.RepoDiff], path: str, links: Links, *, patch: bool) -> Response:
    if not patch:
        return Response(answers.diff_list(found, path, links).model_dump_json(), media_type="application/json")
    return patch_answer([(diff.name, diff.patch) for diff in found if diff.patch], alone=len(found) == 1)


def patch_answer(patches: Sequence[tuple[str, bytes]], *, alone: bool | None = None) -> Response:
    """Return the patches of several repositories as one attachment.

    Args:
        patches: each with the name of its repository.
        alone: whether there is only one repository, so that none is named; None: if there is only one patch.
    """
    disposition = {"Content-Disposition": 'attachment; filename="changes.patch"'}
    # No charset parameter: a patch contains bytes of the files, in any encoding.
    headers = {**disposition, "Content-Type": PATCH_TYPE}
    return Response(diffs.joined(patches, alone=len(patches) == 1 if alone is None else alone), headers=headers)
