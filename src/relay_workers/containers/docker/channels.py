"""The connections of a worker to the relay-pid1 of each container.

Each container has a directory of its own on the node, `ContainerSpec.channel_dir`:

- ``seen/bootstrap``: the socket that the container sees, read-only, at `CHANNEL`;
- ``channel``: the socket on which relay-pid1 listens, out of the container's sight;
- ``lock``: held by the worker that bootstraps. Several workers may run on one node.

Usable from many threads.
"""

import fcntl
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Any, TypeVar

import docker

from relay_core.domain.errors import StepFailed
from relay_core.domain.vocabulary import Reason
from relay_workers.containers.docker.failure import translated
from relay_workers.containers.pid1.channel import BootstrapListener
from relay_workers.containers.pid1.client import Pid1Client
from relay_workers.containers.pid1.errors import Pid1Gone, Pid1Silent
from relay_workers.containers.port import CHANNEL

BOOTSTRAP_SECONDS = 10.0
"""The longest time that relay-pid1 gets to connect to the bootstrap: it tries every 0.1 s."""
_SEEN, _CHANNEL, _LOCK = "seen", "channel", "lock"

_Result = TypeVar("_Result")


class OtherFirstProcess(StepFailed):
    """The container's first process is not relay-pid1, because an earlier version of Relay made the container."""

    def __init__(self) -> None:
        message = "the workspace's container was made by an earlier version of Relay; start a new run"
        super().__init__(Reason.CONTAINER_MISSING, message)


@dataclass(frozen=True)
class Running:
    """A running container."""

    pid1: Pid1Client
    env: Mapping[str, str]
    """The environment of the container: its image's and its own."""


def seen_dir(channel_dir: Path) -> Path:
    """Return the directory that a container sees at `CHANNEL`."""
    return channel_dir / _SEEN


def make_dirs(channel_dir: Path) -> None:
    """Make the directories of a container that is about to be created."""
    channel_dir.mkdir(mode=0o755, parents=True, exist_ok=True)
    seen_dir(channel_dir).mkdir(mode=0o755, exist_ok=True)


class Channels:
    """The relay-pid1 of each container of one engine.

    Args:
        api: a client of the engine.
    """

    def __init__(self, api: docker.APIClient) -> None:
        self._api = api
        self._lock = Lock()
        self._known: dict[str, Running] = {}

    def call(self, container_id: str, action: Callable[[Running], _Result], *, again: bool = True) -> _Result:
        """Return the result of ``action`` on a running container.

        Args:
            container_id: the container.
            action: a request to its relay-pid1.
            again: whether to do the action on the new relay-pid1 if it turns out to be another one than before, as
                after a restart of the container. It had no effect on the old one. A start is not done again: the new
                one does not know what was forbidden, so the caller first confirms that it may start the step.

        Raises:
            StepFailed: ``container_missing``: the container is gone or does not run.
            OtherFirstProcess: its first process is not relay-pid1.
            EngineUnavailable: the engine or relay-pid1 does not answer.
        """
        with self._lock:
            known = self._known.get(container_id)
        if known is not None:
            try:
                return action(known)
            except Pid1Gone as error:
                self.forget(container_id)
                if not again:
                    raise Pid1Silent(f"The container was started again: {error}") from error
        found = self._find(container_id)
        with self._lock:
            kept = self._known.setdefault(container_id, found)
        if kept is not found:  # another thread was faster
            found.pid1.close()
        return action(kept)

    def forget(self, container_id: str) -> None:
        """Close the connection to a container, which was stopped or removed."""
        with self._lock:
            known = self._known.pop(container_id, None)
        if known is not None:
            known.pid1.close()

    def start(self, container_id: str, start: Callable[[], object]) -> None:
        """Start a container with ``start``, and bootstrap its relay-pid1 without loss of time.

        Nothing more happens to a container that runs already and that ``start`` leaves alone.
        """
        before = self._inspect(container_id)
        directory = _channel_dir(before)
        if directory is None:
            start()
            return
        make_dirs(directory)
        with _held(directory / _LOCK), BootstrapListener(seen_dir(directory)) as listener:
            start()
            found = self._inspect(container_id)
            pid = int(found["State"]["Pid"])  # 0 if it does not run
            if pid not in {0, int(before["State"]["Pid"])}:
                self.forget(container_id)
                listener.hand_over(directory / _CHANNEL, lambda: pid, seconds=BOOTSTRAP_SECONDS)
                with self._lock:
                    self._known[container_id] = Running(Pid1Client(directory / _CHANNEL, pid), _env(found))

    def remove(self, container_id: str, remove: Callable[[], object]) -> None:
        """Remove a container with ``remove``, and then the directory of its channel.

        Raises:
            docker.errors.APIError: the engine refused, or the container is gone.
        """
        self.forget(container_id)
        directory = _channel_dir(self._inspect(container_id))
        remove()
        if directory is not None:
            shutil.rmtree(directory, ignore_errors=True)

    def _find(self, container_id: str) -> Running:
        with translated():
            found = self._inspect(container_id)
        if not found["State"]["Running"]:
            raise StepFailed(Reason.CONTAINER_MISSING, "the workspace's container does not run")
        directory = _channel_dir(found)
        if directory is None:
            raise OtherFirstProcess
        return Running(self._client(directory, int(found["State"]["Pid"])), _env(found))

    @staticmethod
    def _client(directory: Path, init_pid: int) -> Pid1Client:
        """Return a client of relay-pid1, which is bootstrapped first if no worker has done so."""
        client = Pid1Client(directory / _CHANNEL, init_pid)
        with _held(directory / _LOCK):
            try:
                client.pid1_status()
            except Pid1Gone:
                with BootstrapListener(seen_dir(directory)) as listener:
                    listener.hand_over(directory / _CHANNEL, lambda: init_pid, seconds=BOOTSTRAP_SECONDS)
                client.pid1_status()
        return client

    def _inspect(self, container_id: str) -> dict[str, Any]:
        found: dict[str, Any] = self._api.inspect_container(container_id)
        return found


def _channel_dir(found: Mapping[str, Any]) -> Path | None:
    """Return the directory of a container's channel, from the engine's description of the container."""
    sources = [Path(mount["Source"]) for mount in found.get("Mounts") or () if mount["Destination"] == CHANNEL]
    return sources[0].parent if sources else None


def _env(found: Mapping[str, Any]) -> dict[str, str]:
    return dict(variable.split("=", 1) for variable in found["Config"].get("Env") or () if "=" in variable)


@contextmanager
def _held(path: Path) -> Iterator[None]:
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)
