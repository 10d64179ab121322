"""Gives files that a step created as root in the clones to the workspace's user, who must be able to change them."""

import os
from contextlib import suppress
from pathlib import Path

from relay_workers.host_files.safe_dir import SafeDir, TamperedFile


def give_back(workspace_dir: Path, uid: int) -> int:
    """Change the owner of all files of root in the clones of a workspace; follows neither links nor mounts.

    Safe while processes of the workspace run: with a hard link they can at most name another file of the workspace.
    Only root can change owners, so nothing happens in a worker that is not root.

    Args:
        workspace_dir: directory of the workspace.
        uid: the new owner; 0 changes nothing.

    Returns:
        Number of files and directories whose owner was changed.
    """
    if os.geteuid() != 0 or uid == 0:
        return 0
    count = 0
    with suppress(FileNotFoundError, TamperedFile, RecursionError), SafeDir.open(workspace_dir, "repos") as repos:
        device = os.fstat(repos.fileno()).st_dev
        for _, folders, files, folder in os.fwalk(".", dir_fd=repos.fileno(), onerror=None, follow_symlinks=False):
            for name in (*folders, *files):
                with suppress(OSError):
                    found = os.stat(name, dir_fd=folder, follow_symlinks=False)
                    if found.st_uid == 0 and found.st_dev == device:
                        os.chown(name, uid, -1, dir_fd=folder, follow_symlinks=False)
                        count += 1
    return count
