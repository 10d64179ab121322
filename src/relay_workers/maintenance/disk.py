"""The disk: what workspaces may take of it, and what the node does before there is none left."""

import shutil
import threading
import time
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple
from uuid import UUID

import structlog

from relay_core.domain.errors import RelayError
from relay_core.domain.limits import files_for
from relay_core.domain.vocabulary import Reason
from relay_workers.capture.pump import Backlog
from relay_workers.containers.port import Storage
from relay_workers.execution.context import WorkerContext
from relay_workers.maintenance.disk_usage import (
    LONGEST_MEASUREMENT_SECONDS,
    Use,
    processes_by_container,
    used_by,
    used_without_name,
)
from relay_workers.ownership.live_executions import Control

log = structlog.get_logger(__name__)

MEASURE_SECONDS = 5.0
PRESSURE_SECONDS = 0.5
RELIEF_SECONDS = 30.0
"""For a run that was ended to give its disk space back, before another one is."""
PATIENCE = 10.0
"""A measurement may take a tenth of the time: a directory that took 3 s is measured every 30 s."""
PRESSED_MEASUREMENT_SECONDS = 3.0
"""Under pressure; what takes longer counts by its last measurement."""
GROWTH_SECONDS = 300.0
"""Growth is what came within this time."""


class DiskCap(NamedTuple):
    """What the workspace of an execution may take."""

    directory: Path
    container_id: str
    bytes: int

    def is_exceeded_by(self, use: Use) -> bool:
        """Whether it takes more bytes, or more files than go with them."""
        return use.bytes > self.bytes or use.files > files_for(self.bytes)


class Sample(NamedTuple):
    """A measurement."""

    at: float
    bytes: int


def growth(samples: Sequence[Sample]) -> int | None:
    """Bytes that came since the smallest of the samples; None where one alone tells nothing."""
    return samples[-1].bytes - min(one.bytes for one in samples) if len(samples) > 1 else None


class DiskUse:
    """Measures workspaces, and remembers how they grew; usable from several threads."""

    def __init__(self, context: WorkerContext) -> None:
        self._context = context
        self._lock = threading.Lock()
        self._storage: dict[str, Storage] = {}
        self._samples: dict[Path, deque[Sample]] = {}

    def measure(
        self, cap: DiskCap, processes: Mapping[str, list[int]], seconds: float = LONGEST_MEASUREMENT_SECONDS
    ) -> Use | None:
        """All that a workspace takes now; None where it cannot be told within ``seconds``."""
        storage = self._storage_of(cap.container_id)
        use = used_by([cap.directory, *storage.directories], seconds)
        if use is None:
            return None
        use = use.plus(used_without_name(processes.get(cap.container_id, ())))
        use = use.plus(Use(0 if storage.layer_seen else self._layer_bytes(cap.container_id), 0))
        now = time.monotonic()
        with self._lock:
            samples = self._samples.setdefault(cap.directory, deque())
            samples.append(Sample(now, use.bytes))
            while now - samples[0].at > GROWTH_SECONDS:
                samples.popleft()
        return use

    def growth(self, directory: Path) -> int | None:
        """How much a workspace has grown; None where too little is known."""
        with self._lock:
            return growth(tuple(self._samples.get(directory, ())))

    def keep(self, caps: Iterable[DiskCap]) -> None:
        """Forget all other workspaces."""
        kept = list(caps)
        directories, containers = {one.directory for one in kept}, {one.container_id for one in kept}
        with self._lock:
            self._samples = {one: seen for one, seen in self._samples.items() if one in directories}
            self._storage = {one: seen for one, seen in self._storage.items() if one in containers}

    def _storage_of(self, container_id: str) -> Storage:
        """Asked once: then no measurement waits for the engine."""
        if (known := self._storage.get(container_id)) is not None:
            return known
        try:
            found = self._context.containers.storage(container_id)
        except RelayError:  # the engine is away, or the container gone
            return Storage((), layer_seen=True)  # asked again with the next measurement
        with self._lock:
            self._storage[container_id] = found
        return found

    def _layer_bytes(self, container_id: str) -> int:
        try:
            return self._context.containers.layer_bytes(container_id)
        except RelayError:  # the engine is away, or the container gone
            return 0


class DiskLimits:
    """Measures the workspaces in which something runs, one after the other, and ends what is over its limit."""

    def __init__(self, context: WorkerContext, use: DiskUse) -> None:
        self._context = context
        self._use = use
        self._due: dict[Path, float] = {}

    def sweep(self) -> None:
        """One round."""
        by_directory = _by_directory(self._context)
        self._use.keep(cap for cap, _ in by_directory.values())
        self._due = {directory: at for directory, at in self._due.items() if directory in by_directory}
        due = [one for one in by_directory if self._due.get(one, 0.0) <= time.monotonic()]
        processes = processes_by_container() if due else {}
        for directory in due:
            self._measure(*by_directory[directory], processes)

    def _measure(self, cap: DiskCap, controls: Sequence[Control], processes: Mapping[str, list[int]]) -> None:
        began = time.monotonic()
        use = self._use.measure(cap, processes)
        now = time.monotonic()
        self._due[cap.directory] = now + PATIENCE * (now - began)
        if use is not None and cap.is_exceeded_by(use):
            log.warning("a workspace is over its limit", directory=str(cap.directory), bytes=use.bytes, files=use.files)
            for control in controls:
                control.ask_end(Reason.DISK_LIMIT)
                self._context.metrics.swept("disk_limit")


def to_end_under_pressure(grown: Mapping[Path, int | None], logs: Mapping[Path, int]) -> Path | None:
    """The workspace that grew most; where none grew, the one whose raw logs are largest, as they go with its end.

    Args:
        grown: bytes by workspace; None where too little is known yet.
        logs: bytes of raw logs, stored or not, by workspace.
    """
    known = {one: size for one, size in grown.items() if size}
    if known:
        return max(known, key=lambda one: known[one])
    worst = max(logs, key=lambda one: logs[one], default=None)
    return worst if worst is not None and logs[worst] else None


def floor_after_relief(free: int, pressure: int) -> int:
    """With less free than this another workspace's runs are ended, given what is free now that one's are.

    Its files stay, so the disk may be as full as before; who only goes on beside it is not to blame. But a disk that
    has next to nothing left is relieved again and again.
    """
    return max(free - free // 4, pressure // 8)


class Pressure:
    """Ends workspaces' runs while the disk is nearly full: before Postgres, perhaps on the same, is in danger."""

    def __init__(self, context: WorkerContext, use: DiskUse) -> None:
        self._context = context
        self._use = use
        self._last: Path | None = None
        self._ended_at = 0.0
        self._floor = context.settings.node_pressure_bytes

    def sweep(self) -> None:
        """One look. What was ended holds its files until its log is stored, so it has some time for that."""
        free = shutil.disk_usage(self._context.settings.data_dir).free
        pressure = self._context.settings.node_pressure_bytes
        if free >= pressure:
            self._last, self._floor = None, pressure
            return
        live = _by_directory(self._context)
        if self._last is not None:
            if self._last in live and time.monotonic() - self._ended_at < RELIEF_SECONDS:
                return
            self._last, self._floor = None, floor_after_relief(free, pressure)
        if free >= self._floor:
            return
        open_ones = {
            directory: (cap, controls)
            for directory, (cap, controls) in live.items()
            if any(control.ended_by is None for control in controls)
        }
        worst = to_end_under_pressure(self._grown(open_ones), _logs(open_ones, self._context.pump.backlogs()))
        if worst is not None:
            log.warning("the disk is nearly full; a workspace's runs are ended", directory=str(worst), free_bytes=free)
            self._last, self._ended_at = worst, time.monotonic()
            for control in open_ones[worst][1]:
                control.ask_end(Reason.DISK_PRESSURE)
            self._context.metrics.swept("disk_pressure")

    def _grown(self, live: Mapping[Path, tuple[DiskCap, list[Control]]]) -> dict[Path, int | None]:
        processes = processes_by_container()
        for cap, _ in live.values():
            self._use.measure(cap, processes, PRESSED_MEASUREMENT_SECONDS)
        return {directory: self._use.growth(directory) for directory in live}


def _by_directory(context: WorkerContext) -> dict[Path, tuple[DiskCap, list[Control]]]:
    found: dict[Path, tuple[DiskCap, list[Control]]] = {}
    for control in context.live.all():
        if control.disk is not None:
            found.setdefault(control.disk.directory, (control.disk, []))[1].append(control)
    return found


def _logs(live: Mapping[Path, tuple[DiskCap, list[Control]]], backlogs: Mapping[UUID, Backlog]) -> dict[Path, int]:
    none = Backlog(0, 0)
    return {
        directory: sum(backlogs.get(control.execution_id, none).file_bytes for control in controls)
        for directory, (_, controls) in live.items()
    }
