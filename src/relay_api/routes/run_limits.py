"""Routes of limits on concurrent runs."""

from typing import Annotated, Literal

from fastapi import APIRouter, Path
from starlette.responses import Response

from relay_api.dependencies import Admin, Reader, ServicesDep
from relay_api.http.responses import problems
from relay_api.schemas.patterns import NO_NUL
from relay_api.schemas.run_limits import RunLimitIn, RunLimitList, RunLimitOut
from relay_core.domain.admission import LimitKind
from relay_core.store.admission import run_limits

router = APIRouter(prefix="/v1", tags=["admin"])

Kind = Annotated[Literal["project", "owner", "pool"], Path(description="What the limit applies to.")]
Name = Annotated[
    str,
    Path(
        min_length=1,
        max_length=255,
        pattern=NO_NUL,
        description="Id of a project, an owner, a pool; `*`: each one without a limit of its own.",
    ),
]


@router.get("/limits", responses=problems(), summary="List limits on concurrent runs")
def list_limits(services: ServicesDep, principal: Reader) -> RunLimitList:
    """List the limits on concurrent runs. Those of nodes are settings of the nodes.

    Limits of other owners, and of their projects, are shown to the scope `admin` only.
    """
    with services.database.connect() as connection:
        found = run_limits.listed(connection, principal)
    return RunLimitList(items=[RunLimitOut.model_validate(vars(one)) for one in found])


@router.put("/limits/{kind}/{name:path}", responses=problems(body=True), summary="Limit concurrent runs")
def put_limit(kind: Kind, name: Name, body: RunLimitIn, services: ServicesDep, principal: Admin) -> RunLimitOut:  # noqa: ARG001 - asks for the scope
    """Set how many runs of a project, an owner or a pool may be at work at once. Needs the scope `admin`.

    Runs at work go on; waiting ones that the limit lets in start.
    """
    with services.database.begin() as connection:
        return RunLimitOut.model_validate(vars(run_limits.put(connection, LimitKind(kind), name, body.max_runs)))


@router.delete("/limits/{kind}/{name:path}", status_code=204, responses=problems(404), summary="Remove a limit")
def remove_limit(kind: Kind, name: Name, services: ServicesDep, principal: Admin) -> Response:  # noqa: ARG001 - asks for the scope
    """Remove a limit on concurrent runs. Needs the scope `admin`."""
    with services.database.begin() as connection:
        run_limits.remove(connection, LimitKind(kind), name)
    return Response(status_code=204)
