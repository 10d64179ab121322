"""Measures the live workspaces of this node and remembers how much each has grown."""

import threading
import time
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from relay_core.domain.errors import RelayError
from relay_workers.containers.port import Containers, Storage
from relay_workers.maintenance.disk_usage import (
    LONGEST_MEASUREMENT_SECONDS,
    DiskUsage,
    directory_usage,
    directory_usages,
    unlinked_file_usage,
)
from relay_workers.ownership.disk_cap import DiskCap
from relay_workers.ownership.live_executions import ExecutionControl, LiveExecutions

GROWTH_SECONDS = 300.0
"""Growth is measured over this time; older samples are forgotten."""


class Sample(NamedTuple):
    """One measurement of a workspace."""

    at: float
    """Time of the measurement on the monotonic clock, in seconds."""
    bytes: int


class LiveWorkspace(NamedTuple):
    """A workspace in which executions of this worker run."""

    cap: DiskCap
    controls: list[ExecutionControl]
    """The controls of those executions, by which they are stopped."""


def live_workspaces(live: LiveExecutions) -> dict[Path, LiveWorkspace]:
    """Return, by directory, the workspaces of all live executions whose disk limit is known."""
    workspaces: dict[Path, LiveWorkspace] = {}
    for control in live.all():
        if control.disk is not None:
            workspace = workspaces.setdefault(control.disk.directory, LiveWorkspace(control.disk, []))
            workspace.controls.append(control)
    return workspaces


def growth(samples: Sequence[Sample]) -> int | None:
    """Return by how many bytes the last sample exceeds the smallest one; None if there are fewer than two samples."""
    return samples[-1].bytes - min(sample.bytes for sample in samples) if len(samples) > 1 else None


class DiskMeter:
    """Measures workspaces and keeps their samples. Safe to use from several threads.

    Args:
        containers: reports where a container stores its writable layer and its volumes.
    """

    def __init__(self, containers: Containers) -> None:
        self._containers = containers
        self._lock = threading.Lock()
        self._storage: dict[str, Storage] = {}
        self._samples: dict[Path, deque[Sample]] = {}

    def measure(
        self,
        cap: DiskCap,
        processes: Mapping[str, list[int]],
        timeout_seconds: float = LONGEST_MEASUREMENT_SECONDS,
    ) -> DiskUsage | None:
        """Measure a workspace: its directory, its logs, its container's layer and volumes, and open deleted files.

        Args:
            cap: the workspace and its container.
            processes: process ids on this host by container id (`processes_by_container`).
            timeout_seconds: time limit of each run of `du`.

        Returns:
            The usage; None if it cannot be measured in that time.
        """
        usage = directory_usage(self._directories(cap), timeout_seconds)
        return None if usage is None else self._complete(cap, usage, processes)

    def measure_together(
        self, caps: Sequence[DiskCap], processes: Mapping[str, list[int]], timeout_seconds: float
    ) -> list[DiskUsage | None]:
        """Measure several workspaces as `measure` does one, with the same two runs of `du` for all of them."""
        usages = directory_usages([self._directories(cap) for cap in caps], timeout_seconds)
        return [
            None if usage is None else self._complete(cap, usage, processes)
            for cap, usage in zip(caps, usages, strict=True)
        ]

    def _directories(self, cap: DiskCap) -> list[Path]:
        return [cap.directory, *cap.logs, *self._storage_of(cap.container_id).directories]

    def _complete(self, cap: DiskCap, usage: DiskUsage, processes: Mapping[str, list[int]]) -> DiskUsage:
        """Return the usage of the directories with all that is outside of them, and keep it as a sample."""
        usage = usage.plus(unlinked_file_usage(processes.get(cap.container_id, ())))
        layer_seen = self._storage_of(cap.container_id).layer_seen
        usage = usage.plus(DiskUsage(0 if layer_seen else self._layer_bytes(cap.container_id), 0))
        now = time.monotonic()
        with self._lock:
            samples = self._samples.setdefault(cap.directory, deque())
            samples.append(Sample(now, usage.bytes))
            while now - samples[0].at > GROWTH_SECONDS:
                samples.popleft()
        return usage

    def growth(self, directory: Path) -> int | None:
        """Return the bytes by which a workspace grew within `GROWTH_SECONDS`; None before its second measurement."""
        with self._lock:
            return growth(tuple(self._samples.get(directory, ())))

    def forget_others(self, caps: Iterable[DiskCap]) -> None:
        """Forget the samples of all workspaces but these."""
        kept = list(caps)
        directories, containers = {cap.directory for cap in kept}, {cap.container_id for cap in kept}
        with self._lock:
            self._samples = {path: samples for path, samples in self._samples.items() if path in directories}
            self._storage = {name: storage for name, storage in self._storage.items() if name in containers}

    def _storage_of(self, container_id: str) -> Storage:
        """Return where a container stores its files.

        The engine is asked only once, so that measuring does not wait for it.
        """
        if (known := self._storage.get(container_id)) is not None:
            return known
        try:
            storage = self._containers.storage(container_id)
        except RelayError:  # the engine does not answer, or the container is gone
            return Storage((), layer_seen=True)  # not kept: the next measurement asks the engine again
        with self._lock:
            self._storage[container_id] = storage
        return storage

    def _layer_bytes(self, container_id: str) -> int:
        try:
            return self._containers.layer_bytes(container_id)
        except RelayError:  # the engine does not answer, or the container is gone
            return 0
