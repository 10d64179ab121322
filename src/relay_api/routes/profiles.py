"""Routes of session profiles: templates of sessions and terminals, which the operator configures."""

from typing import Annotated

from fastapi import APIRouter, Path

from relay_api.dependencies import Reader, ServicesDep
from relay_api.http.responses import problems
from relay_api.schemas.patterns import NODE
from relay_api.schemas.profiles import SessionProfileList, SessionProfileOut
from relay_core.domain.errors import NotFound
from relay_core.domain.session_profiles import SessionProfile

router = APIRouter(prefix="/v1/profiles", tags=["sessions"])

Name = Annotated[str, Path(min_length=1, max_length=63, pattern=NODE, description="Name of the profile.")]


@router.get("", responses=problems(), summary="List session profiles")
def list_session_profiles(services: ServicesDep, principal: Reader) -> SessionProfileList:  # noqa: ARG001 - asks for the scope
    """List the templates that `profile` of a new run or workspace may name, in the order of the operator's file."""
    return SessionProfileList(items=[_shown(each) for each in services.session_profiles.values()])


@router.get("/{name}", responses=problems(404), summary="Get a session profile")
def get_session_profile(name: Name, services: ServicesDep, principal: Reader) -> SessionProfileOut:  # noqa: ARG001 - asks for the scope
    """Return one template."""
    found = services.session_profiles.get(name)
    if found is None:
        raise NotFound(f"there is no session profile {name}")
    return _shown(found)


def _shown(found: SessionProfile) -> SessionProfileOut:
    return SessionProfileOut.model_validate({**vars(found), "executor": found.executor or None})
