"""Log files that the first edition of Relay kept in workspaces: ``<workspace>/runs/<execution>/``.

Executions that ran when a node was upgraded left them; they are unmasked, so they are removed.
"""

import shutil
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from uuid import UUID

from relay_workers.host_files.safe_dir import SafeDir, TamperedFile

_RUNS = "runs"


def remove_runs(workspace_dir: Path, execution_id: str) -> None:
    """Remove the files of an execution; do nothing if there are none.

    Raises:
        TamperedFile: a process of the container replaced the directory ``runs``.
        OSError: an entry cannot be removed, or a process creates one at the same time.
    """
    with suppress(FileNotFoundError), SafeDir.open(workspace_dir, _RUNS) as runs:
        shutil.rmtree(execution_id, dir_fd=runs.fileno())


def runs_of_first_edition(workspaces: Path) -> Iterator[tuple[UUID, UUID]]:
    """Yield a workspace and an execution for each execution of which there are files."""
    for directory in workspaces.iterdir() if workspaces.is_dir() else ():
        with suppress(FileNotFoundError, NotADirectoryError, TamperedFile), SafeDir.open(directory, _RUNS) as runs:
            for name in runs.names():
                yield uuid_or_nil(directory.name), uuid_or_nil(name)


def uuid_or_nil(text: str) -> UUID:
    """Return the UUID in a text. If the text is no UUID, return the nil UUID, which no row has."""
    try:
        return UUID(text)
    except ValueError:
        return UUID(int=0)
