"""Routes of projects' secrets. They are stored encrypted and given to runs by name; no answer contains a value."""

from typing import Annotated

from fastapi import APIRouter, Path, Response

from relay_api.dependencies import Reader, ServicesDep, Writer
from relay_api.http.responses import problems
from relay_api.ids import ProjectId
from relay_api.schemas.secrets import SecretIn, SecretList, SecretName, SecretOut
from relay_core.domain.errors import InvalidInput
from relay_core.secret_box import SecretName as Place
from relay_core.store.projects import projects, secrets

router = APIRouter(prefix="/v1/projects/{project_id}/secrets", tags=["secrets"])

Name = Annotated[
    SecretName, Path(description="Name of the secret, and of the environment variable where a run names no other.")
]


@router.get("", responses=problems(404), summary="List a project's secrets")
def list_secrets(project_id: ProjectId, services: ServicesDep, principal: Reader) -> SecretList:
    """List the names and times of the project's secrets, without their values."""
    with services.database.connect() as connection:
        projects.get(connection, project_id, principal)
        return SecretList(items=[SecretOut(**secret) for secret in secrets.listed(connection, project_id)])


@router.put(
    "/{name}",
    status_code=204,
    response_class=Response,
    responses=problems(404, 409, body=True),
    summary="Store a secret, or another value for it",
)
def put_secret(project_id: ProjectId, name: Name, body: SecretIn, services: ServicesDep, principal: Writer) -> None:
    """Encrypt the value with the server's key and store it. Executions that start from now on get this value."""
    if len(body.value.encode()) > secrets.MAX_SECRET_BYTES:
        message = f"a secret may have {secrets.MAX_SECRET_BYTES} bytes"
        raise InvalidInput(message, code="secret_too_large", field="value")
    with services.database.begin() as connection:
        projects.get(connection, project_id, principal)
        sealed = services.secrets.seal(Place(project_id, name), body.value)
        secrets.put(connection, project_id, name, sealed, principal.owner)


@router.delete("/{name}", status_code=204, response_class=Response, responses=problems(404), summary="Delete a secret")
def delete_secret(project_id: ProjectId, name: Name, services: ServicesDep, principal: Writer) -> None:
    """Delete a secret. Executions that need the secret and start from now on fail with `secret_missing`.

    Workspaces whose executions got the value keep it, encrypted, until they are deleted: it is needed to mask the value
    in their logs.
    """
    with services.database.begin() as connection:
        projects.get(connection, project_id, principal)
        secrets.remove(connection, project_id, name, principal.owner)
