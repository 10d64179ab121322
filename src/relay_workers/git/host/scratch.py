"""Temporary directories for results of the git container, and removal of files that killed workers left behind.

A worker holds a file lock on each temporary directory and mirror that it uses, and the kernel releases the lock when
the worker dies. So if this module can lock a file, no living worker uses it.
"""

import fcntl
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import structlog

from relay_workers.git.host.mirror import clear_after_crash

log = structlog.get_logger(__name__)

_ENTRIES_PER_SWEEP = 50
"""Maximum number of files that one call of `sweep` checks per pattern; later calls remove the rest."""


@contextmanager
def scratch(data_dir: Path) -> Iterator[Path]:
    """Create an empty temporary directory below ``<data_dir>/tmp``; remove it at the end of the context."""
    root = data_dir / "tmp"
    root.mkdir(parents=True, exist_ok=True)
    draft = root / f".out-{secrets.token_hex(8)}"
    draft.mkdir(mode=0o700)
    path = root / draft.name.removeprefix(".")
    descriptor = os.open(draft, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        draft.rename(path)  # `sweep` ignores the draft name, and the directory is locked before it gets its name
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)
        os.close(descriptor)


def sweep(data_dir: Path) -> int:
    """Remove what dead workers left behind: temporary directories, and the files of unfinished fetches in the mirrors.

    Returns:
        Number of removed directories plus number of mirrors that were cleaned.
    """
    removed = 0
    for path in _some(data_dir / "tmp", "out-*"):
        with _try_lock(path, os.O_RDONLY | os.O_DIRECTORY) as locked:
            if locked:
                shutil.rmtree(path, ignore_errors=True)
                removed += 1
    for lock in {_lock_of(path) for pattern in _UNFINISHED_FETCHES for path in _some(data_dir / "mirrors", pattern)}:
        with _try_lock(lock, os.O_RDWR) as locked:
            removed += _clear_mirror(lock.with_suffix(".git")) if locked else 0
    return removed


_UNFINISHED_FETCHES = ("*/*.partial-*", "*/*.trace", "*/*.git/relay-fetching")
"""Patterns, below the directory of mirrors, of files that exist only during a fetch."""


def _lock_of(path: Path) -> Path:
    """Return the path of a mirror's lock file, for a file that a fetch of this mirror created."""
    mirror = path.parent if path.parent.suffix == ".git" else path
    return mirror.with_name(f"{mirror.name.partition('.')[0]}.lock")


def _clear_mirror(mirror: Path) -> int:
    for partial in mirror.parent.glob(f"{mirror.name}.partial-*"):
        shutil.rmtree(partial, ignore_errors=True)
    mirror.with_suffix(".trace").unlink(missing_ok=True)
    if mirror.is_dir():
        clear_after_crash(mirror)
    return 1


def _some(directory: Path, pattern: str) -> list[Path]:
    found = []
    for path in directory.glob(pattern):
        found.append(path)
        if len(found) == _ENTRIES_PER_SWEEP:
            break
    return found


@contextmanager
def _try_lock(path: Path, flags: int) -> Iterator[bool]:
    """Try to lock a file for the duration of the context.

    Args:
        path: the file or directory to lock.
        flags: flags with which `os.open` opens it.

    Yields:
        Whether the file is locked; False if a living worker holds the lock, or the file cannot be opened.
    """
    try:
        descriptor = os.open(path, flags | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        yield False
        return
    try:
        locked = False
        with suppress(BlockingIOError):
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            locked = True
        yield locked
    finally:
        os.close(descriptor)
