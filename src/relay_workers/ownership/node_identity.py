"""Who this node is: a host with a container engine and one or more workers."""

import fcntl
import os
import time
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import psutil

from relay_core.domain.errors import RelayError
from relay_core.settings import Settings

BYTES_PER_SLOT = 16 << 20
"""Memory reckoned for one slot when the concurrency is not set; a slot of the threads pool itself takes ~36 KB."""
PROBE_SECONDS = 0.02
SLOTS_PER_CPU = 50
"""A slot mostly waits; what it waits for runs in a container with limits of its own."""


class NoFreeName(RelayError):  # noqa: N818 - named for what it says
    """All worker names of this node are taken."""


@dataclass(frozen=True)
class NodeIdentity:
    """The node, stable over restarts, and this worker on it."""

    node_id: str
    worker: str
    """``<slot>@<node_id>``: Celery's name of the worker; the next one to take the slot has it, too."""
    owner: str
    """``<worker>#<life>``: what it runs is its own, and not that of the next with its name."""
    lock_fd: int
    """An flock held as long as this worker lives: whoever can take it knows that the worker is dead."""


def read_node_id(data_dir: Path) -> str:
    """The id in ``<data_dir>/node_id``, made at the first start; moves with the data, not with the host's name."""
    path = data_dir / "node_id"
    data_dir.mkdir(parents=True, exist_ok=True)
    if not path.exists():
        draft = data_dir / f".node_id.{uuid4().hex}"
        draft.write_text(f"node-{uuid4().hex[:12]}\n")
        try:
            os.link(draft, path)  # whole or not at all: the replicas of a fleet start together
        except FileExistsError:
            pass
        finally:
            draft.unlink()
    return path.read_text().strip()


def identify(settings: Settings) -> NodeIdentity:
    """Take the first free worker name of this node.

    Raises:
        NoFreeName: more workers run here than there are names for.
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
                time.sleep(PROBE_SECONDS)  # a neighbour that looks whether it is free holds it for a moment
            continue
        return True
    return False


def is_dead(data_dir: Path, owner: str) -> bool:
    """Whether a worker of this node is provably gone: its lock is free, or held by another life of its name."""
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
        os.close(fd)  # releases it, too


def default_concurrency() -> int:
    """Slots of a worker from this host's memory and processors."""
    return max(4, min(200, psutil.virtual_memory().total // 2 // BYTES_PER_SLOT, SLOTS_PER_CPU * (os.cpu_count() or 1)))


def container_uid(settings: Settings) -> int | None:
    """The one user of all containers whose request and image name none; None: each workspace has a uid of its own.

    A worker that is not root cannot give files to another account, so all its workspaces share the worker's own.
    """
    return settings.container_uid if settings.container_uid is not None else os.geteuid() or None
