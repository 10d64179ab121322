"""Remove the lock files that a killed git left in a clone; with such a file, every later git command there fails.

Each execution has its own gid, which is the group of all files that its processes create. So the group of a lock file
shows which execution created it, and thereby whether the process that holds the lock may still exist.
"""

import os
import stat
from collections.abc import Callable, Collection, Iterator
from contextlib import suppress
from pathlib import Path

from relay_workers.host_files.safe_dir import SafeDir, TamperedFile

_LOCKS = ("index", "HEAD", "config", "packed-refs", "shallow", "ORIG_HEAD", "FETCH_HEAD")


def remove_dead_locks(
    workspace_dir: Path, name: str, branch: str | None, *, ended: int, running: Callable[[], Collection[int]]
) -> list[str]:
    """Remove the lock files in a clone that belong to executions without a living process.

    Args:
        workspace_dir: directory of the workspace.
        name: name of the clone's directory below ``repos/``.
        branch: branch of HEAD; None if HEAD is on no branch.
        ended: gid of an execution whose processes have all ended; its lock files are removed.
        running: returns the gids of the workspace's other running executions; called only if there is a lock file.
            If there are none, all lock files are removed.

    Returns:
        Paths of the removed files, relative to `.git`.
    """
    removed = []
    for path in _locks(branch):
        *folders, last = path.split("/")
        with suppress(OSError, TamperedFile), SafeDir.open(workspace_dir, "repos", name, ".git", *folders) as folder:
            found = os.stat(last, dir_fd=folder.fileno(), follow_symlinks=False)
            others = running()
            dead = found.st_gid == ended or not others
            if stat.S_ISREG(found.st_mode) and found.st_gid not in others and dead:
                folder.unlink(last)
                removed.append(path)
    return removed


def _locks(branch: str | None) -> Iterator[str]:
    yield from (f"{name}.lock" for name in _LOCKS)
    if branch is not None:
        yield f"refs/heads/{branch}.lock"
