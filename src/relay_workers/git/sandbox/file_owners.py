"""Change the owner of files that a step created as root in the clones, so that the workspace's user can change them."""

import os
from contextlib import suppress
from pathlib import Path

from relay_workers.host_files.safe_dir import SafeDir, TamperedFile


def give_back(workspace_dir: Path, uid: int) -> int:
    """Give all files of root in the clones of a workspace to another user. Links and mounts are not followed.

    This is safe while processes of the workspace run: a hard link can at most lead to another file of the workspace.
    Only root can change owners, so a worker that is not root changes nothing.

    Args:
        workspace_dir: directory of the workspace.
        uid: the new owner; if it is 0, nothing is changed.

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
