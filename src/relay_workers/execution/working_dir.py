"""Checks the working directory of a step before its start, because the container engine reports an error too late."""

import os
import stat
from pathlib import Path

from relay_core.domain.errors import StepFailed
from relay_core.domain.vocabulary import Reason
from relay_workers.host_files.safe_dir import SafeDir, TamperedFile


def check_working_dir(workspace_dir: Path, cwd: str) -> None:
    """Raise an error if the working directory is certainly missing.

    A path through a symbolic link cannot be checked from the host; then no error is raised, and the container engine
    reports a missing directory at the start.

    Args:
        workspace_dir: the workspace's directory on this host.
        cwd: the working directory relative to it, such as ``repos/app/services/api``.

    Raises:
        StepFailed: `start_failed`: the path does not exist or is not a directory.
    """
    try:
        here = SafeDir.open(workspace_dir)
        for part in cwd.split("/"):
            with here:
                mode = os.lstat(part, dir_fd=here.fileno()).st_mode
                if not stat.S_ISDIR(mode):
                    what = None if stat.S_ISLNK(mode) else "is no directory"
                    break
                here = here.sub(part)
        else:
            here.close()
            return
    except FileNotFoundError:
        what = "does not exist"
    except (TamperedFile, OSError):
        return
    if what is not None:
        message = (
            f"the working directory {cwd} {what} in the workspace; correct working_dir, or make it in a setup script"
        )
        raise StepFailed(Reason.START_FAILED, message)
