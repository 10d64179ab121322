"""Temporary directories for results of the git container, and removal of files that killed workers left behind.

A worker holds a file lock on each directory and mirror that it uses, and the kernel frees the lock when the worker
dies. So files whose lock can be taken belong to no living worker.
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
"""Most files that one sweep looks at per kind, so that it is short; the next sweep takes further ones."""


@contextmanager
def scratch(data_dir: Path) -> Iterator[Path]:
    """Create an empty directory outside of the workspaces, and remove it at the end of the context."""
    root = data_dir / "tmp"
    root.mkdir(parents=True, exist_ok=True)
    draft = root / f".out-{secrets.token_hex(8)}"
    draft.mkdir(mode=0o700)
    path = root / draft.name.removeprefix(".")
    descriptor = os.open(draft, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        draft.rename(path)  # a sweep ignores the draft, and finds the directory locked
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)
        os.close(descriptor)


def sweep(data_dir: Path) -> int:
    """Remove directories and unfinished fetches of dead workers; returns how many were removed."""
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
"""Files that exist only during a fetch, below the directory of mirrors."""


def _lock_of(path: Path) -> Path:
    """Return the lock file of the mirror to which a file of a fetch belongs."""
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
    """Try to lock a file within the context; yields False if a living worker holds the lock, or the file is gone."""
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
