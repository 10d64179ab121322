"""Checks the requests of imports, and makes of each what the store imports."""

from collections.abc import Callable
from typing import Any

from relay_api.schemas import inputs
from relay_api.schemas.migrations import ImportIn, MovedMergeIn, MovedProjectIn, MovedRepoIn, MovedTaskIn
from relay_core.domain.errors import InvalidInput
from relay_core.domain.transfer import EntityType
from relay_core.domain.working_dir import normal_working_dir
from relay_core.settings import Settings
from relay_core.store.database import Connection
from relay_core.store.projects import clones
from relay_core.store.projects.projects import ProjectInput, ProjectRepoInput
from relay_core.store.tokens import Principal
from relay_core.store.transfer import imports
from relay_core.store.transfer.import_workspace import WantedWorkspace, import_workspace
from relay_core.store.transfer.imports import Imported, ImportedMerge, ImportedProject, ImportedTask, Origin

Import = Callable[[Connection, Principal], Imported]


def wanted(body: ImportIn, settings: Settings) -> Import:
    """Return the act that imports what a request has.

    Raises:
        InvalidInput: the entity is missing, there is more than one, or a value of it cannot be used here.
    """
    given = {name.value: getattr(body, name.value) for name in EntityType}
    content = given.pop(body.entity_type)
    if content is None or any(given.values()):
        message = f"give the field {body.entity_type}, and none of the other entities"
        raise InvalidInput(message, code="entity_missing", field=body.entity_type.value)
    origin = Origin(body.origin_id, body.source_id)
    if body.entity_type is EntityType.PROJECT:
        return _project(origin, content, settings)
    if body.entity_type is EntityType.TASK:
        return _task(origin, content)
    if body.entity_type is EntityType.WORKSPACE:
        chosen = WantedWorkspace(content.task_id, content.parts)
        return lambda connection, principal: import_workspace(connection, origin, chosen, principal, settings)
    return _merge(origin, content, settings)


def _project(origin: Origin, body: MovedProjectIn, settings: Settings) -> Import:
    named = [
        (repo, inputs.checked_url(repo.url, f"project.repos.{n}.url", settings)) for n, repo in enumerate(body.repos)
    ]
    default_for = inputs.checked_url(body.default_for, "project.default_for", settings) if body.default_for else None
    project = ProjectInput(
        body.name,
        body.default_image,
        [ProjectRepoInput(**{**repo.model_dump(exclude={"defaults"}), "url": url}) for repo, url in named],
        default_for,
        inputs.agent_dir(body.default_agent_working_dir, "project.default_agent_working_dir"),
    )
    chosen = ImportedProject(project, {url: _defaults(repo, n) for n, (repo, url) in enumerate(named)})

    def act(connection: Connection, principal: Principal) -> Imported:
        done = imports.import_project(connection, origin, chosen, principal)
        if done.created and project.repos:
            clones.start_clone(connection, done.id, settings.pool, principal.owner)
        return done

    return act


def _defaults(repo: MovedRepoIn, position: int) -> dict[str, Any]:
    values = {name: value for name, value in repo.defaults.model_dump().items() if value is not None}
    field = f"project.repos.{position}.defaults"
    if "default_working_dir" in values:
        values["default_working_dir"] = normal_working_dir(
            values["default_working_dir"], f"{field}.default_working_dir"
        )
    return values


def _task(origin: Origin, body: MovedTaskIn) -> Import:
    chosen = ImportedTask(**dict(body))
    return lambda connection, principal: imports.import_task(connection, origin, chosen, principal)


def _merge(origin: Origin, body: MovedMergeIn, settings: Settings) -> Import:
    url = inputs.checked_url(body.repo_url, "pr_merge.repo_url", settings)
    fields = body.model_dump(exclude={"workspace_id", "repo_url", "execution_id"})
    chosen = ImportedMerge(body.workspace_id, url, body.execution_id, fields)
    return lambda connection, principal: imports.import_merge(connection, origin, chosen, principal)
