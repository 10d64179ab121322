"""Files that are stored with the repositories of projects, encrypted; clones get them, as git does not have them.

Only ciphertexts come here; callers encrypt and decrypt them (`relay_core.secret_box`).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple
from uuid import UUID, uuid4

from sqlalchemy import Connection, Select, delete, func, select
from sqlalchemy.dialects.postgresql import insert as upsert

from relay_core.domain.errors import InvalidInput, NotFound
from relay_core.domain.events import EventKind
from relay_core.domain.operations import OperationKind, SubjectKind
from relay_core.store import operations
from relay_core.store.operations import Subject
from relay_core.store.projects import repos
from relay_core.store.projects.repos import NamedRepo
from relay_core.store.schema.tables import Project, ProjectFile, Repo

MOST_OF_PROJECT = 200
"""Most stored files of one project."""
F = ProjectFile


@dataclass(frozen=True)
class NewFile:
    """A file to store; its path is checked, its content encrypted."""

    repo: NamedRepo
    path: str
    size_bytes: int
    executable: bool
    ciphertext: bytes


class SealedFile(NamedTuple):
    """A stored file with its encrypted content."""

    path: str
    executable: bool
    ciphertext: bytes


def repo_of(connection: Connection, project_id: UUID, text: str | None) -> NamedRepo:
    """Return the repository of a project that a client's text stands for; None: its only one.

    A project for runs without a project, which no run has used yet, gets its repository now.

    Raises:
        InvalidInput: `repo_unknown`: the text stands for none, or for several.
    """
    found = repos.of_project(connection, project_id)
    if not found.repos:
        row = connection.execute(select(Project.implicit_key, Project.created_by).where(Project.id == project_id)).one()
        if row.implicit_key is not None:
            ids = repos.ensure(connection, [row.implicit_key], row.created_by)
            repos.link(connection, project_id, list(ids.values()))
            found = repos.of_project(connection, project_id)
    if text is not None:
        return found.named(text, "repo")
    if len(found.repos) != 1:
        has = ", ".join(repo.name for repo in found.repos) or "none; add one first"
        raise InvalidInput(f"name the repository; the project has: {has}", code="repo_unknown", field="repo")
    return found.repos[0]


def put(connection: Connection, project_id: UUID, file: NewFile, most_bytes: int, by: str) -> Mapping[str, Any]:
    """Store a file for clones of a repository of a project, or other content for it; return it as `listed` does.

    Args:
        connection: one transaction.
        project_id: the project.
        file: the file.
        most_bytes: most bytes of all files of the project.
        by: who stores it; a file that is there keeps its creator.

    Raises:
        InvalidInput: `files_too_large` or `too_many_files`: with this one the project has too much.
        NotFound: the project was deleted meanwhile.
    """
    locked = select(Project.id).where(Project.id == project_id, Project.deleted_at.is_(None))
    if connection.scalar(locked.with_for_update(key_share=True)) is None:
        raise NotFound(f"there is no project {project_id}")
    made = upsert(F).values(id=uuid4(), project_id=project_id, repo_id=file.repo.id, path=file.path, created_by=by)
    values = {"size_bytes": file.size_bytes, "executable": file.executable, "ciphertext": file.ciphertext}
    over = {**values, "updated_at": func.now()}
    stored = made.values(values).on_conflict_do_update(constraint="project_files_path", set_=over).returning(F.id)
    file_id = connection.execute(stored).scalar_one()
    of_all = select(func.count(), func.sum(F.size_bytes)).where(F.project_id == project_id)
    count, size = connection.execute(of_all).one()
    if size > most_bytes:
        message = f"the files of the project have {size} bytes with this one; at most {most_bytes} are allowed"
        raise InvalidInput(f"{message} (RELAY_STORED_FILES_MAX_BYTES)", code="files_too_large", field="content")
    if count > MOST_OF_PROJECT:
        message = f"a project has at most {MOST_OF_PROJECT} stored files; delete one first"
        raise InvalidInput(message, code="too_many_files", field="path")
    _note(connection, project_id, f"{file.repo.name}/{file.path}", "stored", by)
    return dict(connection.execute(_shown().where(F.id == file_id)).mappings().one())


def listed(connection: Connection, project_id: UUID) -> list[Mapping[str, Any]]:
    """Return the files of a project by repository and path, never their content."""
    ordered = _shown().where(F.project_id == project_id).order_by(Repo.name, F.repo_id, F.path)
    return [dict(row) for row in connection.execute(ordered).mappings()]


def remove(connection: Connection, project_id: UUID, file_id: UUID, by: str) -> None:
    """Delete a stored file. Clones that have it keep it.

    Raises:
        NotFound: the project has no such file.
    """
    row = connection.execute(_shown().where(F.project_id == project_id, F.id == file_id)).mappings().one_or_none()
    if row is None or not connection.execute(delete(F).where(F.id == file_id)).rowcount:
        raise NotFound(f"project {project_id} has no file {file_id}")
    _note(connection, project_id, f"{row['repo']}/{row['path']}", "removed", by)


def remove_all(connection: Connection, project_id: UUID, repo_id: UUID | None = None) -> None:
    """Delete the files of a project, or of one of its repositories."""
    of_it = delete(F).where(F.project_id == project_id)
    connection.execute(of_it if repo_id is None else of_it.where(F.repo_id == repo_id))


def of_clone(connection: Connection, project_id: UUID, repo_id: UUID) -> list[SealedFile]:
    """Return the files that a clone of a repository gets, by path."""
    found = select(F.path, F.executable, F.ciphertext).where(F.project_id == project_id, F.repo_id == repo_id)
    return [SealedFile(*row) for row in connection.execute(found.order_by(F.path))]


def _shown() -> Select[Any]:
    columns: list[Any] = [F.id, F.repo_id, Repo.name.label("repo"), F.path, F.size_bytes, F.executable]
    columns += [F.created_by, F.created_at, F.updated_at]
    return select(*columns).join(Repo, Repo.id == F.repo_id)


def _note(connection: Connection, project_id: UUID, name: str, change: str, by: str) -> None:
    """Append the event of a change of a file, which the project's owner may read. It never has the content."""
    owner = connection.scalar(select(Project.created_by).where(Project.id == project_id))
    subject = Subject(SubjectKind.SECRET, f"{project_id}/{name}", owner)
    payload = {"change": change, "name": name, "by": by}
    operations.record(connection, OperationKind.CREDENTIAL_CHANGE, subject, EventKind.CREDENTIAL_CHANGED, payload)
