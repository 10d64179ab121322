"""Stops executions while the node's disk is nearly full: Postgres may use the same disk, and would then fail."""

import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

import structlog

from relay_core.domain.vocabulary import Reason
from relay_core.settings import Settings
from relay_workers.capture.pump import Backlog, LogPump
from relay_workers.maintenance.disk_meter import DiskMeter, LiveWorkspace, live_workspaces
from relay_workers.maintenance.disk_usage import processes_by_container
from relay_workers.metrics import Metrics
from relay_workers.ownership.live_executions import LiveExecutions

log = structlog.get_logger(__name__)

PRESSURE_SECONDS = 0.5
RELIEF_SECONDS = 30.0
"""Seconds that stopped executions get to free their disk space, before those of another workspace are stopped."""
SETTLE_SECONDS = 2.0
"""Seconds after the end of stopped executions in which their raw logs are removed; the disk is judged again later."""
MEASUREMENT_TIMEOUT_SECONDS = 3.0
"""Time limit of a measurement while the disk is nearly full; if it takes longer, the last measurement is used."""


GREW_MOST = "the node's disk was nearly full, and of all workspaces its own grew most; free space there"
LARGEST_RAW_LOG = (
    "the node's disk was nearly full, no workspace had grown, and of all workspaces its own had the largest raw logs; "
    "free space there"
)


@dataclass(frozen=True)
class Chosen:
    """The workspace whose executions are stopped."""

    directory: Path
    message: str
    """Why it was chosen, for clients."""


def to_end_under_pressure(grown: Mapping[Path, int | None], logs: Mapping[Path, int]) -> Chosen | None:
    """Choose the workspace whose executions are stopped.

    It is the one that grew most, else the one with the largest raw logs.

    Raw logs are removed when their execution has ended, so stopping it frees their space.

    Args:
        grown: growth in bytes by workspace directory; None if there are too few measurements.
        logs: bytes of raw log files by workspace directory, whether stored in Postgres or not.

    Returns:
        The workspace; None if stopping executions would free no space.
    """
    known = {directory: size for directory, size in grown.items() if size}
    if known:
        return Chosen(max(known, key=lambda directory: known[directory]), GREW_MOST)
    largest = max(logs, key=lambda directory: logs[directory], default=None)
    return Chosen(largest, LARGEST_RAW_LOG) if largest is not None and logs[largest] else None


def floor_after_relief(free: int, pressure: int) -> int:
    """Return the free bytes below which another workspace's executions are stopped, after a first one's have ended.

    The files of a workspace stay, so the disk may be as full as before. The other workspaces go on until a quarter of
    the remaining free space is used up too, or less than an eighth of ``pressure`` is free.

    Args:
        free: free bytes after the executions of the first workspace have ended.
        pressure: free bytes below which those were stopped.
    """
    return max(free - free // 4, pressure // 8)


class DiskPressure:
    """Stops the executions of one workspace at a time while less than `node_pressure_bytes` of the disk are free.

    Args:
        settings: data directory and threshold.
        live: the executions of this worker.
        meter: measures how much workspaces have grown.
        pump: reports the size of raw logs.
        metrics: counts workspaces whose executions were stopped.
    """

    def __init__(
        self, settings: Settings, live: LiveExecutions, meter: DiskMeter, pump: LogPump, metrics: Metrics
    ) -> None:
        self._data_dir = settings.data_dir
        self._pressure_bytes = settings.node_pressure_bytes
        self._live = live
        self._meter = meter
        self._pump = pump
        self._metrics = metrics
        self._last_ended: Path | None = None
        self._ended_at = self._last_seen = 0.0
        self._floor = self._pressure_bytes

    def sweep(self) -> None:
        """Compare the free space with the threshold; if it is lower, stop the executions of one workspace."""
        free = shutil.disk_usage(self._data_dir).free
        if free >= self._pressure_bytes:
            self._last_ended, self._floor = None, self._pressure_bytes
            return
        live = live_workspaces(self._live)
        if self._last_ended is not None:
            now = time.monotonic()
            if self._last_ended in live:
                self._last_seen = now
                if now - self._ended_at < RELIEF_SECONDS:
                    return  # its executions have not ended yet: their raw logs stay until they are stored
            elif now - self._last_seen < SETTLE_SECONDS:
                return
            self._last_ended, self._floor = None, floor_after_relief(free, self._pressure_bytes)
        if free < self._floor:
            self._relieve(live, free)

    def _relieve(self, live: Mapping[Path, LiveWorkspace], free: int) -> None:
        """Choose one workspace and stop its executions.

        Workspaces whose executions are being stopped already are left out.
        """
        candidates = {
            directory: workspace
            for directory, workspace in live.items()
            if any(control.ended_by is None for control in workspace.controls)
        }
        chosen = to_end_under_pressure(self._grown(candidates), raw_log_bytes(candidates, self._pump.backlogs()))
        if chosen is None:
            return
        log.warning(
            "the disk is nearly full; the executions of a workspace are ended",
            directory=str(chosen.directory),
            free_bytes=free,
        )
        self._last_ended = chosen.directory
        self._ended_at = self._last_seen = time.monotonic()
        for control in candidates[chosen.directory].controls:
            control.ask_end(Reason.DISK_PRESSURE, chosen.message)
        self._metrics.swept("disk_pressure")

    def _grown(self, workspaces: Mapping[Path, LiveWorkspace]) -> dict[Path, int | None]:
        processes = processes_by_container()
        for workspace in workspaces.values():
            self._meter.measure(workspace.cap, processes, MEASUREMENT_TIMEOUT_SECONDS)
        return {directory: self._meter.growth(directory) for directory in workspaces}


def raw_log_bytes(workspaces: Mapping[Path, LiveWorkspace], backlogs: Mapping[UUID, Backlog]) -> dict[Path, int]:
    """Return the bytes of the raw log files of each workspace's live executions, by workspace directory."""
    none = Backlog(0, 0)
    return {
        directory: sum(backlogs.get(control.execution_id, none).file_bytes for control in workspace.controls)
        for directory, workspace in workspaces.items()
    }
