"""Routes of files that are stored with a project for its clones: encrypted, and in no answer with their content."""

import base64
import binascii
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Path, Response

from relay_api.dependencies import Reader, ServicesDep, Writer
from relay_api.http.responses import problems
from relay_api.ids import ProjectId
from relay_api.schemas.stored_files import StoredFileIn, StoredFileList, StoredFileOut
from relay_core.domain import copy_files
from relay_core.domain.errors import InvalidInput
from relay_core.secret_box import of_file
from relay_core.store.database import Connection
from relay_core.store.projects import projects, stored_files
from relay_core.store.projects.stored_files import NewFile

router = APIRouter(prefix="/v1/projects/{project_id}/files", tags=["projects"])

FileId = Annotated[UUID, Path(description="Id of a stored file.")]


@router.get("", responses=problems(404), summary="List a project's files")
def list_files(project_id: ProjectId, services: ServicesDep, principal: Reader) -> StoredFileList:
    """List the files that clones of the project's repositories get, without their content."""
    with services.database.connect() as connection:
        projects.get(connection, project_id, principal)
        return StoredFileList(items=[StoredFileOut(**each) for each in stored_files.listed(connection, project_id)])


@router.post("", status_code=201, responses=problems(404, 409, body=True), summary="Store a file for clones")
def put_file(project_id: ProjectId, body: StoredFileIn, services: ServicesDep, principal: Writer) -> StoredFileOut:
    """Encrypt a file with the server's key and store it, in place of one that is stored for the same path.

    New workspaces get it unless `copy_files` of the repository has patterns and none matches. What git has stays.
    """
    copy_files.stored_path(body.path)
    data, most = _decoded(body.content), services.settings.stored_file_max_bytes
    if len(data) > most:
        message = f"the file has {len(data)} bytes; at most {most} are allowed (RELAY_STORED_FILE_MAX_BYTES)"
        raise InvalidInput(message, code="file_too_large", field="content")

    def store(connection: Connection) -> StoredFileOut:
        projects.get(connection, project_id, principal)
        repo = stored_files.repo_of(connection, project_id, body.repo)
        text = base64.b64encode(data).decode()
        sealed = services.secrets.seal(of_file(project_id, repo.id, body.path), text)
        new = NewFile(repo, body.path, len(data), body.executable, sealed)
        most_of_all = services.settings.stored_files_max_bytes
        return StoredFileOut(**stored_files.put(connection, project_id, new, most_of_all, principal.owner))

    return services.database.transact(store)


@router.delete(
    "/{file_id}", status_code=204, response_class=Response, responses=problems(404), summary="Delete a stored file"
)
def delete_file(project_id: ProjectId, file_id: FileId, services: ServicesDep, principal: Writer) -> None:
    """Delete a stored file. Workspaces that have it keep it."""
    with services.database.begin() as connection:
        projects.get(connection, project_id, principal)
        stored_files.remove(connection, project_id, file_id, principal.owner)


def _decoded(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise InvalidInput("the content is not base64", code="content_invalid", field="content") from error
