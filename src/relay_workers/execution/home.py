"""The home directory of a workspace. All executions share it, so no file in it may keep the environment of one."""

import shutil
from contextlib import suppress
from pathlib import Path

from relay_workers.host_files.safe_dir import SafeDir, TamperedFile

SNAPSHOTS = ((".codex", "shell_snapshots"), (".claude", "shell-snapshots"))
"""Directories below the home in which agents store their shell's variables, in one file per turn.

An agent removes its file at the end of a turn, but not if it was killed.
"""


def remove_snapshots(workspace_dir: Path) -> None:
    """Remove the files with shell variables that agents left in the home directory. No symbolic link is followed."""
    for folder, name in SNAPSHOTS:
        with suppress(OSError, TamperedFile, RecursionError), SafeDir.open(workspace_dir, "home", folder) as parent:
            shutil.rmtree(name, dir_fd=parent.fileno())
