"""Where a node keeps the directories of deleted workspaces: beside those in use, on the same file system.

So a directory is moved by one rename, which is done or not, whatever it contains: nothing in it is opened or followed.
"""

import os
from contextlib import suppress
from pathlib import Path
from uuid import UUID

KEPT = ".quarantine"
"""Name of the directory, below that of the workspaces, that has them."""


_MOVED = ".moved"
"""Name of the directory, below that of the workspaces, that says which directories have other names than usual."""


def place_of(data_dir: Path, workspace_id: UUID) -> Path:
    """Return the directory of a workspace in use, whether it exists or not.

    It is named after the workspace, or as the node has noted that it found it (`note_place`).
    """
    workspaces = data_dir / "workspaces"
    usual = workspaces / str(workspace_id)
    if usual.is_dir():
        return usual
    try:
        name = str((workspaces / _MOVED / str(workspace_id)).readlink())
    except OSError:
        return usual
    return workspaces / name if _is_name(name) and (workspaces / name).is_dir() else usual


def note_place(data_dir: Path, workspace_id: UUID, directory: Path) -> None:
    """Note in which directory the node found a workspace; nothing is noted of one that is named after it.

    Only the node writes these notes, and only it reads them: they are links without a target.
    """
    note = data_dir / "workspaces" / _MOVED / str(workspace_id)
    if directory.name == str(workspace_id):
        note.unlink(missing_ok=True)
        return
    with suppress(OSError):
        if str(note.readlink()) == directory.name:
            return
    note.parent.mkdir(mode=0o700, exist_ok=True)
    note.unlink(missing_ok=True)
    note.symlink_to(directory.name)


def forget_place(data_dir: Path, workspace_id: UUID) -> None:
    """Remove the note of a workspace that has left its directory: another one may get that name."""
    (data_dir / "workspaces" / _MOVED / str(workspace_id)).unlink(missing_ok=True)


def _is_name(name: str) -> bool:
    return bool(name) and "/" not in name and not name.startswith(".")


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
