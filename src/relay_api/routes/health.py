"""Routes of this server's health and metrics."""

from importlib.metadata import version

from fastapi import APIRouter
from starlette.responses import JSONResponse, Response

from relay_api.dependencies import Reader, ServicesDep
from relay_api.http.problems import problem
from relay_api.http.responses import problem_doc, problems, raw
from relay_api.schemas.admin import Health
from relay_api.schemas.common import Check, Checks
from relay_api.services import Services
from relay_core.queue import redis_check
from relay_core.store.database import probe
from relay_core.store.outage import SQLAlchemyError

router = APIRouter(tags=["health"])
_VERSION = version("relay")


@router.get("/healthz", response_model=Health, responses={421: problem_doc(421), 503: problem_doc(503)})
def health(services: ServicesDep) -> Response:
    """Check the database and Redis. Needs no token.

    The answer is 503 if the database does not answer. If only Redis does not work, the status is `degraded`: work
    continues more slowly.
    """
    checks = Checks(database=_database(services), redis=_redis(services))
    if not checks.database.ok:
        detail = "the database does not answer"
        return problem(503, "database_unavailable", detail, checks=checks.model_dump(), headers={"Retry-After": "2"})
    status = "ok" if checks.redis.ok else "degraded"
    return JSONResponse(Health(status=status, checks=checks, version=_VERSION).model_dump())


@router.get(
    "/metrics",
    response_class=Response,
    responses={**problems(), 200: raw("Prometheus' text format.", "text/plain")},
)
def metrics(services: ServicesDep, principal: Reader) -> Response:  # noqa: ARG001 - asks for the scope
    """Return metrics for Prometheus. Needs a token with the scope `runs:read`.

    In Prometheus, set the token with `authorization: {credentials_file: …}`.
    """
    with services.database.connect() as connection:
        numbers = services.metrics.read(connection)
    return Response(numbers, headers={"Content-Type": "text/plain; version=0.0.4; charset=utf-8"})


def _database(services: Services) -> Check:
    # Give no details of the error, because a client without a token gets this answer.
    try:
        with services.database.single_statements() as connection:
            probe(connection)
    except SQLAlchemyError:
        return Check(ok=False, error="no answer")
    return Check(ok=True)


def _redis(services: Services) -> Check:
    why = redis_check.why_unfit(services.redis)
    return Check(ok=why is None, error=why and why.partition(":")[0])
