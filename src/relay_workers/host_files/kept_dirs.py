"""Where a node keeps the directories of deleted workspaces: beside those in use, on the same file system.

So a directory is moved by one rename, which is done or not, whatever it contains: nothing in it is opened or followed.
"""

import os
from pathlib import Path
from uuid import UUID

KEPT = ".quarantine"
"""Name of the directory, below that of the workspaces, that has them."""


def place_of(data_dir: Path, workspace_id: UUID) -> Path:
    """Return the directory of a workspace in use, whether it exists or not."""
    return data_dir / "workspaces" / str(workspace_id)


def kept_place_of(data_dir: Path, workspace_id: UUID) -> Path:
    """Return the directory of a workspace in quarantine, whether it exists or not."""
    return data_dir / "workspaces" / KEPT / str(workspace_id)


def move(before: Path, after: Path) -> bool:
    """Move a directory, and return whether it is at its new place; it may have been there already.

    Raises:
        FileExistsError: both places have a directory; nothing was moved.
        OSError: the directory cannot be moved.
    """
    if not os.path.lexists(before):
        return os.path.lexists(after)
    if os.path.lexists(after):
        message = f"{before} and {after} both exist; remove the one that does not belong there"
        raise FileExistsError(message)
    after.parent.mkdir(mode=0o700, exist_ok=True)
    before.rename(after)
    for directory in (after.parent, before.parent):
        _sync(directory)
    return True


def _sync(directory: Path) -> None:
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
