"""Routes of the git mirrors of nodes."""

from typing import Annotated

from fastapi import APIRouter, Path, Query

from relay_api.dependencies import Paging, Reader, ServicesDep, Writer
from relay_api.http.responses import problems
from relay_api.ids import OfProject
from relay_api.schemas.mirrors import MirrorOut, MirrorPage
from relay_api.schemas.patterns import NODE
from relay_core.domain.short_id import PATTERN
from relay_core.store.database import Connection
from relay_core.store.projects import mirrors
from relay_core.store.projects.mirrors import MirrorFilter

router = APIRouter(prefix="/v1/mirrors", tags=["projects"])

MirrorId = Annotated[
    str,
    Path(
        min_length=4, max_length=36, pattern=PATTERN, description="Its id, or the first characters of it (4 or more)."
    ),
]


@router.get("", responses=problems(404), summary="List git mirrors, newest first")
def list_mirrors(
    services: ServicesDep,
    principal: Reader,
    page: Paging,
    project_id: OfProject,
    node_id: Annotated[str | None, Query(max_length=200, pattern=NODE)] = None,
) -> MirrorPage:
    """List the git mirrors that nodes have of the remotes of your projects, with the outcome of their last fetch."""
    with services.database.connect() as connection:
        found = mirrors.listed(connection, principal, MirrorFilter(node_id, project_id), page)
    return MirrorPage(items=[MirrorOut(**view) for view in found.items], next_cursor=found.next_cursor)


@router.delete("/{mirror_id}", status_code=202, responses=problems(404, 409), summary="Remove a git mirror")
def purge_mirror(mirror_id: MirrorId, services: ServicesDep, principal: Writer) -> MirrorOut:
    """Ask the node to remove a mirror. The next clone of the remote there fetches everything again.

    `purge_waits_for` says what the removal waits for; the mirror is in no list any more once it is removed. A mirror
    that clones of workspaces use is not removed: 409 `mirror_in_use`.
    """

    def purge(connection: Connection) -> MirrorOut:
        found = mirrors.resolve(connection, mirror_id, principal, "path.mirror_id")
        return MirrorOut(**mirrors.request_purge(connection, found, principal))

    return services.database.transact(purge)
