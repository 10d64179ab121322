"""Lock files that a git which was killed has left: with one of them every later git of a clone fails.

Each execution has a gid of its own, and what it makes is of that group. So the group of a lock says whose it is, and
whether any process is left that could hold it.
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
    """Remove the locks of a clone that no live process holds.

    Args:
        workspace_dir: of the workspace.
        name: of the clone.
        branch: that HEAD is on.
        ended: gid of an execution none of whose processes is left.
        running: gids of the workspace's other executions that run. Where there are none, no lock is held.

    Returns:
        Paths below `.git`.
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
