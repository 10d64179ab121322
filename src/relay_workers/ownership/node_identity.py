"""The identity of this node (a host with a container engine) and of each worker on it."""

import fcntl
import os
import time
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import psutil

from relay_core.domain.errors import RelayError
from relay_core.settings import Settings
from relay_workers.host_files.file_lock import is_locked

BYTES_PER_SLOT = 16 << 20
"""Memory assumed per slot if the concurrency is not set. A slot of the thread pool itself needs only about 36 KB."""
PROBE_SECONDS = 0.02
"""Seconds before a second attempt to lock: a worker that checks a lock (`is_dead`) holds it for a moment."""
SLOTS_PER_CPU = 50
"""Upper limit of slots per processor: a slot mostly waits for a process in a container, which has its own limits."""


class NoFreeName(RelayError):  # noqa: N818 - the name is the statement
    """All worker names of this node are in use."""


@dataclass(frozen=True)
class NodeIdentity:
    """The node, whose id survives restarts, and this worker on it."""

    node_id: str
    worker: str
    """``<slot>@<node_id>``: Celery's name of the worker. The next worker that takes the slot gets the same name."""
    owner: str
    """``<worker>#<life>``: names this worker process as the owner of executions.

    The next worker of the same name differs.
    """
    lock_fd: int
    """Descriptor of a file that is locked while this worker lives: if another process can lock it, this worker is dead.
    """


def read_node_id(data_dir: Path) -> str:
    """Return the id in ``<data_dir>/node_id``; make it at the first start. It stays the same if the host is renamed."""
    path = data_dir / "node_id"
    data_dir.mkdir(parents=True, exist_ok=True)
    if not path.exists():
        draft = data_dir / f".node_id.{uuid4().hex}"
        draft.write_text(f"node-{uuid4().hex[:12]}\n")
        try:
            os.link(draft, path)  # atomic: several workers may start at the same time
        except FileExistsError:
            pass
        finally:
            draft.unlink()
    return path.read_text().strip()


def identify(settings: Settings) -> NodeIdentity:
    """Take the first free worker name of this node.

    Raises:
        NoFreeName: more workers run here than there are names.
    """
    node_id = read_node_id(settings.data_dir)
    locks = settings.data_dir / "workers"
    locks.mkdir(exist_ok=True)
    for number in range(1, 1000):
        fd = os.open(locks / f"w{number}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        if not _lock(fd):
            os.close(fd)
            continue
        life = uuid4().hex[:8]
        os.ftruncate(fd, 0)
        os.pwrite(fd, life.encode(), 0)
        worker = f"w{number}@{node_id}"
        return NodeIdentity(node_id, worker, f"{worker}#{life}", fd)
    raise NoFreeName(f"999 workers hold a lock in {locks}; stop some")


def _lock(fd: int) -> bool:
    for last in (False, True):
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if not last:
                time.sleep(PROBE_SECONDS)  # another worker's `is_dead` may hold the lock for a moment
            continue
        return True
    return False


def is_dead(data_dir: Path, owner: str) -> bool:
    """Return whether a worker of this node is certainly dead.

    That is so if its lock is free, or held by a later worker of the same name. A missing lock file proves nothing.
    """
    name, _, life = owner.partition("#")
    try:
        fd = os.open(data_dir / "workers" / f"{name.partition('@')[0]}.lock", os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return os.pread(fd, 64, 0).decode() != life
    else:
        return True
    finally:
        os.close(fd)  # also releases the lock


def living_workers(data_dir: Path, node_id: str) -> list[str]:
    """Return the names of the workers of this node that live: each of them holds its lock."""
    locks = (data_dir / "workers").glob("w*.lock")
    return sorted(f"{lock.stem}@{node_id}" for lock in locks if _is_held(lock))


def _is_held(lock: Path) -> bool:
    """Return whether a worker holds this lock file; False if the file is gone."""
    try:
        return is_locked(lock)
    except FileNotFoundError:
        return False


def default_concurrency() -> int:
    """Return the number of slots that fits this host's memory and processors."""
    return max(4, min(200, psutil.virtual_memory().total // 2 // BYTES_PER_SLOT, SLOTS_PER_CPU * (os.cpu_count() or 1)))


def container_uid(settings: Settings) -> int | None:
    """Return the user id of all containers whose run and image name none; None if each workspace gets its own user id.

    A worker that is not root cannot give files to another account, so all its workspaces share the worker's user id.
    """
    return settings.container_uid if settings.container_uid is not None else os.geteuid() or None
