"""Directories for results of the git container, and what a worker that was killed left of these and of its fetches.

Whoever works holds a file lock, which the kernel frees when it dies: what can be locked is nobody's.
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
"""A sweep is to be short; the next takes the rest."""


@contextmanager
def scratch(data_dir: Path) -> Iterator[Path]:
    """A fresh directory outside of the workspaces, gone afterwards."""
    root = data_dir / "tmp"
    root.mkdir(parents=True, exist_ok=True)
    draft = root / f".out-{secrets.token_hex(8)}"
    draft.mkdir(mode=0o700)
    path = root / draft.name.removeprefix(".")
    descriptor = os.open(draft, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        draft.rename(path)  # so that a sweep finds it locked
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)
        os.close(descriptor)


def sweep(data_dir: Path) -> int:
    """Remove what dead workers left; the number of things removed."""
    removed = 0
    for path in _some(data_dir / "tmp", "out-*"):
        with _nobodys(path, os.O_RDONLY | os.O_DIRECTORY) as mine:
            if mine:
                shutil.rmtree(path, ignore_errors=True)
                removed += 1
    for lock in {_lock_of(path) for pattern in _OF_FETCHES for path in _some(data_dir / "mirrors", pattern)}:
        with _nobodys(lock, os.O_RDWR) as mine:
            removed += _clear_mirror(lock.with_suffix(".git")) if mine else 0
    return removed


_OF_FETCHES = ("*/*.partial-*", "*/*.trace", "*/*.git/relay-fetching")


def _lock_of(path: Path) -> Path:
    """The lock of the mirror that a left-over belongs to."""
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
def _nobodys(path: Path, flags: int) -> Iterator[bool]:
    """Whether no living worker holds this; held by us inside."""
    try:
        descriptor = os.open(path, flags | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        yield False
        return
    try:
        mine = False
        with suppress(BlockingIOError):
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            mine = True
        yield mine
    finally:
        os.close(descriptor)
