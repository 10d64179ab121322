"""Routes of executors (agents), their variants, and the agent profiles of projects."""

from collections.abc import Mapping
from typing import Any

from fastapi import APIRouter

from relay_api.dependencies import Reader, ServicesDep, Writer
from relay_api.http.responses import problems
from relay_api.ids import OfProject, ProjectId
from relay_api.schemas.agents import AgentList, AgentOut, ProfilesIn, ProfilesOut, VariantOut
from relay_core.domain.agents import profiles
from relay_core.domain.agents.executors import EXECUTORS, ExecutorKind
from relay_core.domain.agents.profiles import Profiles
from relay_core.store.projects import projects

router = APIRouter(prefix="/v1", tags=["agents"])


@router.get("/agents", responses=problems(404), summary="List executors and their variants")
def list_agents(
    services: ServicesDep,
    principal: Reader,
    project_id: OfProject,
) -> AgentList:
    """List the executor names and variants that a run can use.

    Variants are built in, or defined by the deployment or, with `project_id`, by that project.
    """
    found = services.profiles
    if project_id is not None:
        with services.database.connect() as connection:
            projects.get(connection, project_id, principal)
            found = projects.profiles_over(connection, found, project_id)
    return AgentList(items=[_agent(kind, found) for kind in EXECUTORS.values()])


@router.get("/projects/{project_id}/agents", responses=problems(404), summary="Get a project's agent profiles")
def get_profiles(project_id: ProjectId, services: ServicesDep, principal: Reader) -> ProfilesOut:
    """Return the variants and fields that the project defines itself, which override those of the deployment."""
    with services.database.connect() as connection:
        projects.get(connection, project_id, principal)
        return ProfilesOut(project_id=project_id, profiles=dict(projects.agent_profiles(connection, project_id)))


@router.put(
    "/projects/{project_id}/agents", responses=problems(404, body=True), summary="Replace a project's agent profiles"
)
def put_profiles(project_id: ProjectId, body: ProfilesIn, services: ServicesDep, principal: Writer) -> ProfilesOut:
    """Replace all agent profiles of the project; `{}` removes them.

    They apply from the next run on. Each field that is set overrides the same field of the deployment's profile.
    """
    checked = profiles.check(body.root)
    with services.database.begin() as connection:
        projects.get(connection, project_id, principal)
        projects.set_agent_profiles(connection, project_id, checked)
    return ProfilesOut(project_id=project_id, profiles=body.root)


def _agent(kind: ExecutorKind, found: Profiles) -> AgentOut:
    return AgentOut(
        name=kind.name,
        summary=kind.summary,
        program=kind.program,
        can_resume=kind.resumes,
        can_rewind=kind.rewinds,
        can_see_images=kind.sees_images,
        permission_modes=list(kind.permission_modes),
        reasoning_efforts=list(kind.reasoning_efforts),
        variants=[_variant(name, given) for name, given in found.get(kind.name, {}).items()],
    )


def _variant(name: str, given: Mapping[str, Any]) -> VariantOut:
    names = ("command", "model", "reasoning_effort", "permission_mode")
    env = given.get("env") or {}
    return VariantOut.model_validate(
        {"name": name, **{key: given.get(key) for key in names}, "args": given.get("args") or [], "env": list(env)}
    )
