"""The home directory of a workspace: all its executions share it, so no environment of one may stay in it."""

import shutil
from contextlib import suppress
from pathlib import Path

from relay_workers.host_files.safe_dir import SafeDir, TamperedFile

SNAPSHOTS = ((".codex", "shell_snapshots"), (".claude", "shell-snapshots"))
"""Directories in which agents store the variables of their shell, one file for each turn.

The file of a turn that was killed would stay.
"""


def remove_snapshots(workspace_dir: Path) -> None:
    """Remove the shell variables that ended turns of agents have left; follows no link."""
    for folder, name in SNAPSHOTS:
        with suppress(OSError, TamperedFile, RecursionError), SafeDir.open(workspace_dir, "home", folder) as parent:
            shutil.rmtree(name, dir_fd=parent.fileno())
