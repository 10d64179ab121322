"""Removes lock files of a git that was killed: with such a file, every later git in the clone fails.

Each execution has a gid of its own, which is the group of all files that it creates. So the group of a lock file tells
which execution created it, and whether a process is left that may hold the lock.
"""

import os
import stat
from collections.abc import Collection, Iterator
from contextlib import suppress
from pathlib import Path

from relay_workers.host_files.safe_dir import SafeDir, TamperedFile

_LOCKS = ("index", "HEAD", "config", "packed-refs", "shallow", "ORIG_HEAD", "FETCH_HEAD")


def remove_dead_locks(
    workspace_dir: Path, name: str, branch: str | None, *, ended: int, running: Collection[int]
) -> list[str]:
    """Remove the lock files of a clone that no living process holds.

    Args:
        workspace_dir: directory of the workspace.
        name: name of the clone's directory below ``repos/``.
        branch: branch of HEAD; None if HEAD is on no branch.
        ended: gid of an execution of which no process is left.
        running: gids of the workspace's other running executions. If there are none, all locks are removed.

    Returns:
        Paths of the removed files, relative to `.git`.
    """
    removed = []
    for path in _locks(branch):
        *folders, last = path.split("/")
        with suppress(OSError, TamperedFile), SafeDir.open(workspace_dir, "repos", name, ".git", *folders) as folder:
            found = os.stat(last, dir_fd=folder.fileno(), follow_symlinks=False)
            dead = found.st_gid == ended or not running
            if stat.S_ISREG(found.st_mode) and found.st_gid not in running and dead:
                folder.unlink(last)
                removed.append(path)
    return removed


def _locks(branch: str | None) -> Iterator[str]:
    yield from (f"{name}.lock" for name in _LOCKS)
    if branch is not None:
        yield f"refs/heads/{branch}.lock"
