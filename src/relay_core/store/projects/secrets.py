"""Stores the secrets of projects and which of them a workspace uses.

Only encrypted values (ciphertexts) come here; callers encrypt and decrypt them.
"""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple
from uuid import UUID, uuid4

from sqlalchemy import Connection, delete, func, insert, select
from sqlalchemy.dialects.postgresql import insert as upsert

from relay_core.domain.errors import InvalidInput, NotFound
from relay_core.domain.events import EventKind
from relay_core.domain.operations import OperationKind, SubjectKind
from relay_core.store import operations
from relay_core.store.operations import Subject
from relay_core.store.schema.tables import GivenSecret, Project, ProjectSecret, Task, Workspace, WorkspaceSecret

MAX_SECRET_BYTES = 65536
"""Most bytes of the value of one secret."""
MAX_MASKED_BYTES = 256 << 10
"""Most bytes of all secret values of a run together.

Masking searches logs for each value in about a hundred encodings.
"""


class UsedSecret(NamedTuple):
    """A secret that a workspace uses, with its present value."""

    env_name: str
    secret_name: str
    ciphertext: bytes | None
    """The encrypted value. None: the secret was deleted after the workspace was created."""


class GivenValue(NamedTuple):
    """An encrypted value of a secret that an execution of a workspace got."""

    secret_name: str
    ciphertext: bytes


def put(connection: Connection, project_id: UUID, name: str, ciphertext: bytes, by: str) -> None:
    """Insert a secret of a project, or replace the value of an existing one.

    Args:
        connection: one transaction.
        project_id: the project.
        name: name of the secret.
        ciphertext: the encrypted value.
        by: who stores it; an existing secret keeps its creator.
    """
    made = upsert(ProjectSecret).values(
        id=uuid4(), project_id=project_id, name=name, ciphertext=ciphertext, created_by=by
    )
    connection.execute(
        made.on_conflict_do_update(
            constraint="project_secrets_name",
            set_={"ciphertext": made.excluded.ciphertext, "updated_at": func.now()},
        )
    )
    _note(connection, project_id, name, "stored", by)


def _note(connection: Connection, project_id: UUID, name: str, change: str, by: str) -> None:
    """Append the event of a change of a secret, which the project's owner may read. It never has a value."""
    owner = connection.scalar(select(Project.created_by).where(Project.id == project_id))
    subject = Subject(SubjectKind.SECRET, f"{project_id}/{name}", owner)
    payload = {"change": change, "name": name, "by": by}
    operations.record(connection, OperationKind.CREDENTIAL_CHANGE, subject, EventKind.CREDENTIAL_CHANGED, payload)


def listed(connection: Connection, project_id: UUID) -> list[Mapping[str, Any]]:
    """Return name, creator and times of each secret of a project, ordered by name; never a value."""
    columns = (ProjectSecret.name, ProjectSecret.created_by, ProjectSecret.created_at, ProjectSecret.updated_at)
    statement = select(*columns).where(ProjectSecret.project_id == project_id).order_by(ProjectSecret.name)
    return [dict(row) for row in connection.execute(statement).mappings()]


def remove(connection: Connection, project_id: UUID, name: str, by: str) -> None:
    """Delete one secret of a project.

    Args:
        connection: one transaction.
        project_id: the project.
        name: name of the secret.
        by: who deletes it; told by the event.

    Raises:
        NotFound: the project has no secret of that name.
    """
    statement = delete(ProjectSecret).where(ProjectSecret.project_id == project_id, ProjectSecret.name == name)
    if not connection.execute(statement).rowcount:
        raise NotFound(f"project {project_id} has no secret {name}")
    _note(connection, project_id, name, "removed", by)


def remove_all(connection: Connection, project_id: UUID) -> None:
    """Delete all secrets of a project; called when the project is deleted."""
    connection.execute(delete(ProjectSecret).where(ProjectSecret.project_id == project_id))


def use(connection: Connection, workspace_id: UUID, project_id: UUID, wanted: Mapping[str, str], how: str) -> int:
    """Store which secrets of its project a new workspace uses.

    Args:
        connection: the transaction that creates the workspace.
        workspace_id: the new workspace.
        project_id: its project.
        wanted: names of secrets, by name of the environment variable that gets the value.
        how: options of `relay secret set` that name the project, for the error message.

    Returns:
        Size of the values in bytes, estimated from the size of the ciphertexts.

    Raises:
        InvalidInput: the project has no such secret; the message names it and says how to store it.
    """
    if not wanted:
        return 0
    columns = (ProjectSecret.name, func.octet_length(ProjectSecret.ciphertext))
    statement = select(*columns).where(ProjectSecret.project_id == project_id)
    rows = connection.execute(statement.where(ProjectSecret.name.in_(wanted.values())))
    sizes: dict[str, int] = {row[0]: row[1] for row in rows}
    for env_name, name in wanted.items():
        if name not in sizes:
            message = f"the project has no secret {name}; store it first: relay secret set {name} {how}"
            raise InvalidInput(message, code="secret_unknown", field="secrets")
        values = {"workspace_id": workspace_id, "env_name": env_name, "secret_name": name}
        connection.execute(insert(WorkspaceSecret).values(**values))
    return sum(sizes.values()) * 3 // 4


def used(connection: Connection, workspace_id: UUID) -> list[UsedSecret]:
    """Return the secrets that a workspace uses, with their present ciphertexts, ordered by environment variable."""
    statement = (
        select(WorkspaceSecret.env_name, WorkspaceSecret.secret_name, ProjectSecret.ciphertext)
        .join(Workspace, Workspace.id == WorkspaceSecret.workspace_id)
        .join(Task, Task.id == Workspace.task_id)
        .outerjoin(
            ProjectSecret,
            (ProjectSecret.project_id == Task.project_id) & (ProjectSecret.name == WorkspaceSecret.secret_name),
        )
        .where(WorkspaceSecret.workspace_id == workspace_id)
        .order_by(WorkspaceSecret.env_name)
    )
    return [UsedSecret(*row) for row in connection.execute(statement)]


def given(connection: Connection, workspace_id: UUID) -> list[GivenValue]:
    """Return all values that executions of a workspace got, including those replaced or deleted since."""
    columns = (GivenSecret.secret_name, GivenSecret.ciphertext)
    statement = select(*columns).where(GivenSecret.workspace_id == workspace_id).order_by(GivenSecret.digest)
    return [GivenValue(*row) for row in connection.execute(statement)]


def note_given(connection: Connection, workspace_id: UUID, values: Iterable[GivenValue]) -> None:
    """Store the values that an execution is about to get, so that they stay masked from now on."""
    rows: Sequence[dict[str, Any]] = [
        {"workspace_id": workspace_id, "digest": hashlib.sha256(value.ciphertext).digest(), **value._asdict()}
        for value in values
    ]
    if rows:
        connection.execute(upsert(GivenSecret).on_conflict_do_nothing(), rows)


def stamps(connection: Connection, workspace_ids: Sequence[UUID]) -> dict[UUID, tuple[Any, ...]]:
    """Return a value for each workspace that changes whenever the set of secrets to mask in it changes.

    A caller compares it with an earlier one to see whether it must read the secrets again.
    """
    statement = (
        select(WorkspaceSecret.workspace_id, func.max(ProjectSecret.updated_at), func.count(ProjectSecret.id))
        .join(Workspace, Workspace.id == WorkspaceSecret.workspace_id)
        .join(Task, Task.id == Workspace.task_id)
        .join(
            ProjectSecret,
            (ProjectSecret.project_id == Task.project_id) & (ProjectSecret.name == WorkspaceSecret.secret_name),
        )
        .where(WorkspaceSecret.workspace_id.in_(workspace_ids))
        .group_by(WorkspaceSecret.workspace_id)
    )
    stored = {row[0]: tuple(row[1:]) for row in connection.execute(statement)}
    counted = (
        select(GivenSecret.workspace_id, func.count())
        .where(GivenSecret.workspace_id.in_(workspace_ids))
        .group_by(GivenSecret.workspace_id)
    )
    given_to = {row[0]: row[1] for row in connection.execute(counted)}
    return {workspace_id: (stored.get(workspace_id), given_to.get(workspace_id)) for workspace_id in workspace_ids}


def forget_given(connection: Connection, workspace_id: UUID) -> None:
    """Delete the values that executions of a workspace got. Called when its files and container are gone."""
    connection.execute(delete(GivenSecret).where(GivenSecret.workspace_id == workspace_id))
