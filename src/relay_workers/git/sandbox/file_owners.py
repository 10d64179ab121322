"""What a step that ran as root has left in the clones is given to the workspace's user, who works on in them."""

import os
from contextlib import suppress
from pathlib import Path

from relay_workers.host_files.safe_dir import SafeDir, TamperedFile


def give_back(workspace_dir: Path, uid: int) -> int:
    """Change the owner of root's files in all clones; nothing is followed, neither a link nor a mount.

    Safe beside processes of the workspace: what they can put in the way is a name for another of the workspace's files.
    Only root can; else nothing happens.

    Returns:
        How many had another owner.
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
