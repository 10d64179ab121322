"""Locks between the workers of one node, as lock files: unlike database locks they also work while Postgres is away.

The kernel releases the locks of a worker that dies.
"""

import fcntl
import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from uuid import UUID


@contextmanager
def hold_lock(data_dir: Path, name: str, *, shared: bool) -> Iterator[None]:
    """Wait for a lock and hold it within the block.

    With ``shared``, other shared holders may hold it at the same time.
    """
    with _file(data_dir, name) as fd:
        fcntl.flock(fd, fcntl.LOCK_SH if shared else fcntl.LOCK_EX)
        yield


@contextmanager
def try_lock(data_dir: Path, name: str) -> Iterator[bool]:
    """Try to get a lock for the block; yield False if another process or thread holds it."""
    with _file(data_dir, name) as fd:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        yield True


def container_creation(data_dir: Path, workspace_id: UUID) -> AbstractContextManager[None]:
    """Return the lock under which the container of a workspace is made, for a ``with`` block.

    It is shared: a worker that was stopped (SIGSTOP) while it made the container does not hold up its successor. Two
    creations at once are safe, because the engine gives the container's name once.
    """
    return hold_lock(data_dir, f"{workspace_id}.container", shared=True)


def container_removal(data_dir: Path, workspace_id: UUID) -> AbstractContextManager[bool]:
    """Return the lock under which an unneeded container is removed; it yields False while a container is being made.

    The workspace's state is read under it before the removal. A retry commits its change of the state before it makes
    the container, so a removal either sees that change or ends before the container is made.
    """
    return try_lock(data_dir, f"{workspace_id}.container")


def remove_lock(data_dir: Path, name: str) -> None:
    """Remove the lock files whose names start with ``name``, once no worker needs them."""
    for path in (data_dir / "locks").glob(f"{name}*"):
        path.unlink(missing_ok=True)


@contextmanager
def _file(data_dir: Path, name: str) -> Iterator[int]:
    directory = data_dir / "locks"
    directory.mkdir(mode=0o700, exist_ok=True)
    fd = os.open(directory / name, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        yield fd
    finally:
        os.close(fd)
