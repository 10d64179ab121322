"""Deny other accounts of the node access to Relay's directories, which contain sources, logs and agents' files."""

import os
import stat
from pathlib import Path

from relay_core.domain.errors import RelayError

PRIVATE = ("workspaces", "mirrors", "stores", "tmp", "probe", "workers", "ssh", "executions", "channels")
"""Names of directories below the data directory that only the worker's account may enter.

So other accounts cannot run a set-uid file in a workspace. Containers still have access to their own workspace, because
the container engine mounts it as root.
"""


class DirectoryNotPrivate(RelayError):  # noqa: N818 - named after the state
    """Relay cannot make a directory of the node inaccessible to other accounts."""


def close_to_others(data_dir: Path) -> list[str]:
    """Create the directories of `PRIVATE` with mode 0700; change the mode of existing ones to 0700.

    A worker calls this at each start, because existing directories may have mode 0755: Docker creates a missing
    directory of a bind mount with that mode, and so did earlier versions of Relay.

    Returns:
        Names of the directories whose mode was changed.

    Raises:
        DirectoryNotPrivate: a path is a symlink, is not a directory, or belongs to another account.
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
