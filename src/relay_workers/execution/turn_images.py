"""Puts the images of a task into the workspace before an agent's turn, where the agent can open them."""

import os
from collections.abc import Sequence
from contextlib import suppress

from relay_core.domain.errors import StepFailed
from relay_core.domain.step import AgentStep
from relay_core.domain.uploaded_images import DIRECTORY
from relay_core.domain.vocabulary import Reason
from relay_core.store.executions.claim import Claimed
from relay_core.store.shared import images
from relay_core.store.shared.images import ImageOfTask
from relay_core.store.transaction import Database
from relay_workers.execution.workspace import WorkspaceHandle
from relay_workers.host_files.safe_dir import SafeDir, TamperedFile

IGNORED = b"*\n"
"""Content of `.gitignore` in the directory: git commits nothing of it, and shows nothing of it as a change."""


def place_images(database: Database, claimed: Claimed, workspace: WorkspaceHandle) -> list[tuple[str, str]]:
    """Put the images of the task into the working directory of an agent's turn.

    The directory may be one that a container has made, so no link in it is followed: each file is made anew, by the
    descriptor of its directory. A file that is there already with the size of the image stays.

    Args:
        database: has the images.
        claimed: the turn.
        workspace: the workspace in which it runs.

    Returns:
        The name for people and the path in the container of each image that the turn's prompt is to name: all of the
        task, for a follow-up those that it got since the turn before. Empty if the step is none of an agent.

    Raises:
        StepFailed: `start_failed`: the files cannot be written, or the way to them leads over a link.
    """
    step = claimed.step
    if not isinstance(step, AgentStep):
        return []
    with database.connect() as connection:
        found = images.for_turn(connection, workspace.row.id, claimed.session_id, claimed.execution_id)
    if not found:
        return []
    try:
        _write(database, found, step.cwd, workspace)
    except (TamperedFile, OSError) as error:
        message = f"the images of the task cannot be put into {step.cwd}/{DIRECTORY} of the workspace: {error}"
        raise StepFailed(Reason.START_FAILED, message) from error
    named = [image for image in found if image.new or not step.follow_up]
    return [(image.original_name, f"/workspace/{step.cwd}/{DIRECTORY}/{image.file_path}") for image in named]


def _write(database: Database, found: Sequence[ImageOfTask], cwd: str, workspace: WorkspaceHandle) -> None:
    owner = workspace.uid if os.geteuid() == 0 else None
    with SafeDir.open(workspace.directory, *cwd.split("/")) as here:
        made = here.make_directory(DIRECTORY)
        with here.sub(DIRECTORY) as directory:
            if made and owner is not None:
                os.fchown(directory.fileno(), owner, -1)
            if not _is_there(directory, ".gitignore", len(IGNORED)):
                directory.write_file(".gitignore", IGNORED, owner)
            for image in found:
                if _is_there(directory, image.file_path, image.size_bytes):
                    continue
                with database.connect() as connection:
                    data = images.bytes_of(connection, image.id)
                if data is not None:  # it was deleted meanwhile
                    directory.write_file(image.file_path, data, owner)


def _is_there(directory: SafeDir, name: str, size: int) -> bool:
    with suppress(FileNotFoundError, TamperedFile):
        fd, _ = directory.open_file(name)
        try:
            return os.fstat(fd).st_size == size
        finally:
            os.close(fd)
    return False
