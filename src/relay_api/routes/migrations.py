"""Routes of the move of entities to another Relay: states and documents of the source, imports of the target."""

import base64
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Path, Query
from starlette.responses import JSONResponse

from relay_api.dependencies import Paging, Reader, ServicesDep, Writer
from relay_api.http.responses import problems
from relay_api.routes.images import decoded
from relay_api.schemas import moved
from relay_api.schemas.migrations import (
    DocumentOut,
    ImportIn,
    ImportOut,
    InstallationOut,
    MigrationIn,
    MigrationOut,
    MigrationPage,
    MigrationSummary,
    OutcomeIn,
    StoredPartOut,
    TransferPartIn,
    TransferPartOut,
)
from relay_api.schemas.patterns import PART, SHA256
from relay_core import __version__
from relay_core.domain.transfer import FORMAT, EntityType, MigrationStatus
from relay_core.store.database import Connection
from relay_core.store.transfer import codec, documents, export, parts, states
from relay_core.store.transfer.installation import installation_id
from relay_core.store.transfer.states import StateFilter, Target
from relay_core.store.views.lookup import Kind, resolve

router = APIRouter(prefix="/v1/migrations", tags=["migrations"])

MigrationId = Annotated[UUID, Path(description="Id of a state.")]
PartDigest = Annotated[str, Path(pattern=SHA256, description="SHA-256 of the part's bytes, in hex.")]


@router.get("/installation", responses=problems(), summary="Get the id of this Relay")
def get_installation(services: ServicesDep, principal: Reader) -> InstallationOut:  # noqa: ARG001 - it is required
    """Return the id of this Relay, its version, and the formats of imports that it reads."""
    own = services.database.transact(installation_id)
    return InstallationOut(id=own, version=__version__, formats=[FORMAT])


@router.post("", responses=problems(404, body=True), summary="Register what is to be moved")
def register_migrations(body: MigrationIn, services: ServicesDep, principal: Writer) -> MigrationSummary:
    """Store a state `pending` for each project, task, workspace and pull request that has none for the target.

    A client then moves them: it reads the document of each and lets the target import it. Any client can go on with
    it, as the states are here. No credentials of the target are stored.
    """
    target = Target(body.target_id, body.target_url)

    def register(connection: Connection) -> MigrationSummary:
        project_id = None
        if body.project_id is not None:
            project_id = resolve(connection, Kind.PROJECT, body.project_id, principal, field="project_id")
        counts = states.register(connection, target, project_id, principal)
        return MigrationSummary.model_validate({"target_id": target.id, "owner": principal.owner, "counts": counts})

    return services.database.transact(register)


@router.get("", responses=problems(), summary="List states, newest first")
def list_migrations(
    services: ServicesDep,
    principal: Reader,
    page: Paging,
    status: Annotated[MigrationStatus | None, Query()] = None,
    entity_type: Annotated[EntityType | None, Query()] = None,
    target_id: Annotated[UUID | None, Query(description="Only those of this target.")] = None,
) -> MigrationPage:
    """List how far the move of each entity to each target has come."""
    with services.database.connect() as connection:
        found = states.listed(connection, principal, StateFilter(status, entity_type, target_id), page)
    return MigrationPage(
        items=[MigrationOut.model_validate(each) for each in found.items], next_cursor=found.next_cursor
    )


@router.post("/parts", status_code=201, responses=problems(409, body=True), summary="Upload a part of a workspace")
def upload_part(body: TransferPartIn, services: ServicesDep, principal: Writer) -> StoredPartOut:
    """Store a part that another Relay gave (`GET /v1/migrations/{id}/parts`), for an import.

    A part that no import takes is deleted after a day.
    """
    data = decoded(body.data)
    return StoredPartOut.model_validate(
        services.database.transact(lambda connection: parts.store(connection, data, principal))
    )


@router.get("/parts/{sha256}", responses=problems(404), summary="Look for an uploaded part")
def get_part(sha256: PartDigest, services: ServicesDep, principal: Reader) -> StoredPartOut:
    """Return the size of a part that waits for an import; a client need not upload it again."""
    with services.database.connect() as connection:
        return StoredPartOut.model_validate(parts.get(connection, sha256, principal))


@router.post(
    "/imports",
    status_code=201,
    response_model=ImportOut,
    responses={
        200: {"model": ImportOut, "description": "It was imported before."},
        **problems(404, 409, body=True),
    },
    summary="Import an entity of another Relay",
)
def import_entity(body: ImportIn, services: ServicesDep, principal: Writer) -> JSONResponse:
    """Import one entity: first projects, then tasks, then workspaces, then pull requests.

    Origin and id of the source name it: the same again, also at the same time, gives what the first import made. A
    workspace arrives archived; `PATCH /v1/workspaces/{id}` takes it out of the archive, and a node clones it.
    """
    wanted = moved.wanted(body, services.settings)
    done = services.database.transact(lambda connection: wanted(connection, principal))
    answer = ImportOut(entity_type=done.entity_type, id=done.id, created=done.created)
    return JSONResponse(answer.model_dump(mode="json"), 201 if done.created else 200)


@router.get("/{migration_id:uuid}", responses=problems(404), summary="Get a state")
def get_migration(migration_id: MigrationId, services: ServicesDep, principal: Reader) -> MigrationOut:
    """Return how far the move of one entity has come."""
    with services.database.connect() as connection:
        return MigrationOut.model_validate(states.get(connection, migration_id, principal))


@router.post("/{migration_id:uuid}/attempts", responses=problems(404), summary="Begin to move an entity")
def begin_migration(migration_id: MigrationId, services: ServicesDep, principal: Writer) -> MigrationOut:
    """Count an attempt, before anything is sent to the target. Of a migrated entity none is counted."""
    begun = services.database.transact(lambda connection: states.begin(connection, migration_id, principal))
    return MigrationOut.model_validate(begun)


@router.patch("/{migration_id:uuid}", responses=problems(404, 409, body=True), summary="Say how a move ended")
def settle_migration(
    migration_id: MigrationId, body: OutcomeIn, services: ServicesDep, principal: Writer
) -> MigrationOut:
    """Store how an attempt ended. `migrated` stays (409 `already_migrated`); to say the same again changes nothing."""
    outcome = {**body.model_dump(), "status": MigrationStatus(body.status)}
    settled = services.database.transact(lambda connection: states.settle(connection, migration_id, outcome, principal))
    return MigrationOut.model_validate(settled)


@router.get("/{migration_id:uuid}/document", responses=problems(404, 409), summary="Get an entity for an import")
def get_document(migration_id: MigrationId, services: ServicesDep, principal: Reader) -> DocumentOut:
    """Return an entity as an import takes it. What has not ended is refused: `task_in_progress`, `workspace_busy`."""
    found = services.database.transact(lambda connection: documents.document(connection, migration_id, principal))
    return DocumentOut.model_validate(found)


@router.get("/{migration_id:uuid}/parts", responses=problems(404, 409), summary="Get a part of a workspace")
def read_part(
    migration_id: MigrationId,
    services: ServicesDep,
    principal: Reader,
    cursor: Annotated[
        str | None,
        Query(max_length=60, pattern=PART, description="`next_cursor` of the part before; without it: the first part."),
    ] = None,
) -> TransferPartOut:
    """Return the part of a workspace that begins at a cursor: its rows, logs and recorded git states.

    Values of environment variables and secrets are in none.
    """
    with services.database.connect() as connection:
        workspace_id = documents.workspace_of(connection, migration_id, principal)
    part = export.part(services.database, workspace_id, cursor)
    data = base64.b64encode(part.content).decode()
    size = len(part.content)
    return TransferPartOut(data=data, sha256=codec.digest(part.content), size_bytes=size, next_cursor=part.following)
