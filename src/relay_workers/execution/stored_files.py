"""Reads the files that are stored with a project for clones of its repositories."""

import base64
from typing import NamedTuple
from uuid import UUID

from relay_core.domain.copy_files import Pattern, stored_path
from relay_core.domain.errors import InvalidInput, StepFailed
from relay_core.domain.vocabulary import Reason
from relay_core.secret_box import SecretBox, SecretsNotConfigured, Undecryptable, of_file
from relay_core.store.projects import stored_files
from relay_core.store.transaction import Database


class StoredFile(NamedTuple):
    """A stored file for a clone."""

    path: Pattern
    """The names of its path."""
    content: bytes
    executable: bool


class StoredFiles:
    """The files of all projects.

    Args:
        database: has them, encrypted.
        secrets: decrypts them.
    """

    def __init__(self, database: Database, secrets: SecretBox) -> None:
        self._database = database
        self._secrets = secrets

    def of(self, project_id: UUID, repo_id: UUID) -> list[StoredFile]:
        """Return the files that a clone of a repository of a project gets.

        Raises:
            StepFailed: `clone_failed`: one cannot be decrypted, or its path leads out of the repository.
        """
        with self._database.connect() as connection:
            found = stored_files.of_clone(connection, project_id, repo_id)
        made = []
        for each in found:
            try:
                text = self._secrets.open(of_file(project_id, repo_id, each.path), each.ciphertext)
                made.append(StoredFile(stored_path(each.path), base64.b64decode(text), each.executable))
            except (SecretsNotConfigured, Undecryptable, InvalidInput) as error:
                message = f"the stored file {each.path} cannot be put into the clone: {error}"
                raise StepFailed(Reason.CLONE_FAILED, message) from error
        return made
