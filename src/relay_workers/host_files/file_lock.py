"""Look at locks of files (flock) that other processes hold."""

import fcntl
import os
from pathlib import Path


def is_locked(path: Path) -> bool:
    """Return whether another open file holds an exclusive lock of this file.

    Raises:
        OSError: the file cannot be opened; FileNotFoundError, if it is gone.
    """
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        return is_open_file_locked(fd)
    finally:
        os.close(fd)


def is_open_file_locked(fd: int) -> bool:
    """Return whether another open file holds an exclusive lock of the file that a descriptor has open."""
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    fcntl.flock(fd, fcntl.LOCK_UN)
    return False
