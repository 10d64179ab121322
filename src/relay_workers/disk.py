"""The disk: what workspaces may take of it, and what the node does before there is none left."""

import shutil
import subprocess
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple
from uuid import UUID

import structlog

from relay_core.domain.vocabulary import Reason
from relay_workers.capture.pump import Backlog
from relay_workers.context import WorkerContext
from relay_workers.live import Control

log = structlog.get_logger(__name__)

MEASURE_SECONDS = 5.0
PRESSURE_SECONDS = 0.5
RELIEF_SECONDS = 30.0
"""For a run that was ended to give its disk space back, before another one is."""
PATIENCE = 10.0
"""A measurement may take a tenth of the time: a directory that took 3 s is measured every 30 s."""
LONGEST_MEASUREMENT_SECONDS = 120.0


class DiskCap(NamedTuple):
    """What the workspace of an execution may take."""

    directory: Path
    bytes: int


def used_bytes(directory: Path) -> int | None:
    """Disk space of a directory with all that is in it, hard links once; None where it cannot be told.

    By du of the host: it follows no link, leaves no file system, and does not stop the threads of this worker.
    """
    command = ["du", "--summarize", "--one-file-system", "--block-size=1", "--", str(directory)]
    try:
        done = subprocess.run(command, capture_output=True, timeout=LONGEST_MEASUREMENT_SECONDS, check=False)
        return int(done.stdout.split(b"\t", 1)[0])  # files that went meanwhile make it fail, and are not there
    except (subprocess.TimeoutExpired, ValueError):
        log.warning("a workspace cannot be measured", directory=str(directory))
        return None


class DiskLimits:
    """Measures the workspaces in which something runs, one after the other, and ends what is over its limit."""

    def __init__(self, context: WorkerContext) -> None:
        self._context = context
        self._due: dict[Path, float] = {}

    def sweep(self) -> None:
        """One round."""
        capped = [control for control in self._context.live.all() if control.disk is not None]
        by_directory: dict[Path, list[Control]] = {}
        for control in capped:
            if control.disk is not None:
                by_directory.setdefault(control.disk.directory, []).append(control)
        self._due = {directory: at for directory, at in self._due.items() if directory in by_directory}
        for directory, controls in by_directory.items():
            if self._due.get(directory, 0.0) <= time.monotonic():
                self._measure(directory, controls)

    def _measure(self, directory: Path, controls: Iterable[Control]) -> None:
        began = time.monotonic()
        used = used_bytes(directory)
        now = time.monotonic()
        self._due[directory] = now + PATIENCE * (now - began)
        for control in controls:
            if used is not None and control.disk is not None and used > control.disk.bytes:
                log.warning("a workspace is over its limit", execution_id=str(control.execution_id), bytes=used)
                control.ask_end(Reason.DISK_LIMIT)
                self._context.metrics.swept("disk_limit")


def to_end_under_pressure(backlogs: Mapping[UUID, Backlog]) -> UUID | None:
    """The execution whose end frees the most: raw files stay until it has ended, stored or not."""
    worst = max(backlogs, key=lambda one: backlogs[one].file_bytes, default=None)
    return worst if worst is not None and backlogs[worst].file_bytes else None


class Pressure:
    """Ends runs one by one while the disk is nearly full: before Postgres, perhaps on the same, is in danger."""

    def __init__(self, context: WorkerContext) -> None:
        self._context = context
        self._last: UUID | None = None
        self._ended_at = 0.0

    def sweep(self) -> None:
        """One look. What was ended holds its files until its log is stored, so it has some time for that."""
        free = shutil.disk_usage(self._context.settings.data_dir).free
        if free >= self._context.settings.node_pressure_bytes:
            return
        live = {control.execution_id: control for control in self._context.live.all()}
        if self._last in live and time.monotonic() - self._ended_at < RELIEF_SECONDS:
            return
        backlogs = {one: backlog for one, backlog in self._context.pump.backlogs().items() if one in live}
        worst = to_end_under_pressure({one: seen for one, seen in backlogs.items() if live[one].ended_by is None})
        if worst is not None:
            log.warning("the disk is nearly full; a run is ended", execution_id=str(worst), free_bytes=free)
            self._last, self._ended_at = worst, time.monotonic()
            live[worst].ask_end(Reason.DISK_PRESSURE)
            self._context.metrics.swept("disk_pressure")
