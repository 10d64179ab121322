"""Ids in paths and queries: a client may shorten them, or give the id of something related (`store.views.lookup`)."""

from collections.abc import Awaitable, Callable
from typing import Annotated
from uuid import UUID

from fastapi import Depends, Path, Query
from starlette.concurrency import run_in_threadpool

from relay_api.dependencies import AnyPrincipal, ServicesDep
from relay_api.schemas.patterns import NO_NUL
from relay_api.services import Services
from relay_core.domain.errors import NotFound
from relay_core.domain.short_id import PATTERN, id_range
from relay_core.store.tokens import Principal
from relay_core.store.views.lookup import Aim, Kind, exact, resolve

_SHORT = "Its id, the first characters of it (4 or more), or the id of something related"
_MAX_LENGTH = 36
_NAME_LENGTH = 255


def _in_path(kind: Kind, related: str, aim: Aim | None = Aim.AGENT) -> Callable[..., UUID]:
    """Return a dependency that finds the id that the path parameter `{KIND}_id` means."""
    name = f"{kind}_id"
    limits = {"min_length": 4, "max_length": _MAX_LENGTH, "pattern": PATTERN}
    if kind in {Kind.PROJECT, Kind.REPO}:
        limits = {"min_length": 1, "max_length": _NAME_LENGTH, "pattern": NO_NUL}

    def found(
        text: Annotated[str, Path(alias=name, description=f"{_SHORT}: {related}.", **limits)],
        services: ServicesDep,
        principal: AnyPrincipal,
    ) -> UUID:
        with services.database.single_statements() as connection:
            itself = exact(connection, kind, text, principal)
        if itself is not None:
            return itself
        with services.database.connect() as connection:
            return resolve(connection, kind, text, principal, aim=aim, field=f"path.{name}")

    return found


def _in_query(kind: Kind, description: str, name: str) -> Callable[..., Awaitable[UUID | None]]:
    """Return a dependency that finds the id that a query parameter means; None if it is not given."""

    def look_up(services: Services, principal: Principal, text: str) -> UUID:
        try:
            with services.database.connect() as connection:
                return resolve(connection, kind, text, principal, field=f"query.{name}")
        except NotFound:
            ids = id_range(text)
            if ids is None or not ids.is_whole:
                raise
            return ids.first  # of an unknown id the list is empty; only a beginning needs something to complete it

    async def found(
        services: ServicesDep,
        principal: AnyPrincipal,
        text: Annotated[
            str | None,
            Query(alias=name, min_length=1, max_length=_NAME_LENGTH, pattern=NO_NUL, description=description),
        ] = None,
    ) -> UUID | None:
        return None if text is None else await run_in_threadpool(look_up, services, principal, text)

    return found


_HAS_SEVERAL = "a run, workspace, session or task stands for its"
ExecutionId = Annotated[UUID, Depends(_in_path(Kind.EXECUTION, f"{_HAS_SEVERAL} newest execution of an agent"))]
ActiveExecutionId = Annotated[UUID, Depends(_in_path(Kind.EXECUTION, f"{_HAS_SEVERAL} running execution", Aim.ACTIVE))]
FailedExecutionId = Annotated[
    UUID, Depends(_in_path(Kind.EXECUTION, f"{_HAS_SEVERAL} newest failed execution", Aim.FAILED))
]
RunId = Annotated[
    UUID, Depends(_in_path(Kind.RUN, "an execution; a workspace, session or task stands for its newest run"))
]
ActiveRunId = Annotated[
    UUID,
    Depends(_in_path(Kind.RUN, "an execution; a workspace, session or task stands for its running run", Aim.ACTIVE)),
]
WorkspaceId = Annotated[
    UUID, Depends(_in_path(Kind.WORKSPACE, "a run, an execution, a session, or a task with one workspace"))
]
SessionId = Annotated[
    UUID, Depends(_in_path(Kind.SESSION, "a run, an execution; a workspace or task stands for its newest session"))
]
WorkspaceItself = Annotated[UUID, Depends(_in_path(Kind.WORKSPACE, "none: only the workspace's own", None))]
TaskId = Annotated[UUID, Depends(_in_path(Kind.TASK, "a run, workspace, session or execution"))]
TaskItself = Annotated[UUID, Depends(_in_path(Kind.TASK, "none: only the task's own", None))]
ProjectId = Annotated[UUID, Depends(_in_path(Kind.PROJECT, "the project's name, or something in the project"))]
ProjectItself = Annotated[UUID, Depends(_in_path(Kind.PROJECT, "only the project's name", None))]
"""For what would do too much if an id of something else were taken for its project."""

RepoId = Annotated[UUID, Depends(_in_path(Kind.REPO, "only the repository's name"))]
RepoItself = Annotated[UUID, Depends(_in_path(Kind.REPO, "only the repository's name", None))]

_ID_OF = "Id (4 or more of its first characters are enough) of"
_PROJECT = "A project's name, its id, the first 4 or more characters of the id, or the id of something in the project."
OfProject = Annotated[UUID | None, Depends(_in_query(Kind.PROJECT, _PROJECT, "project_id"))]
OfNamedProject = Annotated[UUID | None, Depends(_in_query(Kind.PROJECT, _PROJECT, "project"))]
OfTask = Annotated[
    UUID | None, Depends(_in_query(Kind.TASK, f"{_ID_OF} a task, or of something that belongs to it.", "task_id"))
]
OfParent = Annotated[
    UUID | None,
    Depends(_in_query(Kind.WORKSPACE, f"{_ID_OF} the workspace whose subtasks are wanted.", "parent_workspace_id")),
]
OfWorkspace = Annotated[
    UUID | None,
    Depends(_in_query(Kind.WORKSPACE, f"{_ID_OF} a workspace, or of something that belongs to it.", "workspace_id")),
]
