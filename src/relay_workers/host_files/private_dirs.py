"""The directories of a node that no other account may enter: they hold sources, logs and files that tenants made."""

import os
import stat
from pathlib import Path

from relay_core.domain.errors import RelayError

PRIVATE = ("workspaces", "mirrors", "stores", "tmp", "probe", "workers", "ssh")
"""Below the data directory. A set-uid file in a workspace is harmless, because no other account can reach it.

The container engine mounts what is below as root, so containers still see their part of it.
"""


class DirectoryNotPrivate(RelayError):  # noqa: N818 - named for what it says
    """A directory of the node cannot be closed to other accounts."""


def close_to_others(data_dir: Path) -> list[str]:
    """Make the directories with mode 0700, and give that mode to those which are open.

    Repeated at each start: Docker makes the directory of a bind mount itself, and earlier versions made them 0755.

    Returns:
        The names of those that were open.

    Raises:
        DirectoryNotPrivate: one is a symlink, no directory, or another account's.
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
