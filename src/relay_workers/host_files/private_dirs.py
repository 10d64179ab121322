"""Closes a node's directories to other accounts: they hold sources, logs, and files that agents created."""

import os
import stat
from pathlib import Path

from relay_core.domain.errors import RelayError

PRIVATE = ("workspaces", "mirrors", "stores", "tmp", "probe", "workers", "ssh")
"""Names of directories below the data directory that only the worker's account may enter.

A set-uid file in a workspace is therefore harmless. Containers still see their own part, because the container engine
mounts it as root.
"""


class DirectoryNotPrivate(RelayError):  # noqa: N818 - named after the state
    """A directory of the node cannot be closed to other accounts."""


def close_to_others(data_dir: Path) -> list[str]:
    """Create the directories of `PRIVATE` with mode 0700, and set that mode on those that have another one.

    A worker does this at each start: Docker creates the missing directory of a bind mount with mode 0755, and so did
    earlier versions of Relay.

    Returns:
        Names of the directories that had another mode.

    Raises:
        DirectoryNotPrivate: a directory is a symlink, is no directory, or belongs to another account.
    """
    return [name for name in PRIVATE if _close(data_dir / name)]


def _close(path: Path) -> bool:
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    facts = path.lstat()
    if not stat.S_ISDIR(facts.st_mode):
        raise DirectoryNotPrivate(f"{path} is a link; make it a directory of its own, or mount the other place there")
    if facts.st_uid != os.geteuid():
        raise DirectoryNotPrivate(
            f"{path} belongs to uid {facts.st_uid} and this worker runs as uid {os.geteuid()}; "
            f"as root: chown {os.geteuid()} {path}"
        )
    if stat.S_IMODE(facts.st_mode) == 0o700:
        return False
    path.chmod(0o700)
    return True
