"""The home of a workspace: shared by its executions, so nothing in it may hold the environment of one of them."""

import shutil
from contextlib import suppress
from pathlib import Path

from relay_workers.host_files.safe_dir import SafeDir, TamperedFile

SNAPSHOTS = ((".codex", "shell_snapshots"), (".claude", "shell-snapshots"))
"""Where agents write the state of their shell, variables included. Each turn writes its own; those of a turn that was
killed would stay."""


def remove_snapshots(workspace_dir: Path) -> None:
    """Remove what an agent's turn that has ended has left of its environment; follows no link."""
    for folder, name in SNAPSHOTS:
        with suppress(OSError, TamperedFile, RecursionError), SafeDir.open(workspace_dir, "home", folder) as parent:
            shutil.rmtree(name, dir_fd=parent.fileno())
