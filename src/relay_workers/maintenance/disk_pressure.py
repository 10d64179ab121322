"""End executions while the node's disk is nearly full, before Postgres, which may be on the same disk, is in danger."""

import shutil
import time
from collections.abc import Mapping
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
"""Time for the executions that were ended to give their disk space back, before others are ended."""
MEASUREMENT_TIMEOUT_SECONDS = 3.0
"""Limit on a measurement under pressure; a workspace that takes longer counts with its last measurement."""


def to_end_under_pressure(grown: Mapping[Path, int | None], logs: Mapping[Path, int]) -> Path | None:
    """Choose the workspace whose executions are ended: the one that grew most, else the one with the largest raw logs.

    Raw logs are removed when their execution has ended, so ending it frees that space.

    Args:
        grown: bytes by workspace; None where there are too few measurements.
        logs: bytes of raw log files by workspace, stored in Postgres or not.

    Returns:
        The workspace's directory; None where ending executions would free nothing.
    """
    known = {directory: size for directory, size in grown.items() if size}
    if known:
        return max(known, key=lambda directory: known[directory])
    largest = max(logs, key=lambda directory: logs[directory], default=None)
    return largest if largest is not None and logs[largest] else None


def floor_after_relief(free: int, pressure: int) -> int:
    """Free bytes below which another workspace's executions are ended after those of a first one have ended.

    The files of a workspace stay, so the disk may be as full as before. The other workspaces are left alone until a
    quarter of the remaining free space is used too, or less than an eighth of ``pressure`` is free.

    Args:
        free: free bytes after the first executions have ended.
        pressure: free bytes below which the first ones were ended.
    """
    return max(free - free // 4, pressure // 8)


class DiskPressure:
    """Ends the executions of one workspace at a time while the disk has less free space than `node_pressure_bytes`.

    Args:
        settings: data directory and threshold.
        live: the executions of this worker.
        meter: tells which workspace has grown.
        pump: tells the size of raw logs.
        metrics: counts relieved workspaces.
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
        self._ended_at = 0.0
        self._floor = self._pressure_bytes

    def sweep(self) -> None:
        """Compare the free space with the threshold, and end the executions of one workspace if it is below."""
        free = shutil.disk_usage(self._data_dir).free
        if free >= self._pressure_bytes:
            self._last_ended, self._floor = None, self._pressure_bytes
            return
        live = live_workspaces(self._live)
        if self._last_ended is not None:
            if self._last_ended in live and time.monotonic() - self._ended_at < RELIEF_SECONDS:
                return  # its files are held until its log is stored
            self._last_ended, self._floor = None, floor_after_relief(free, self._pressure_bytes)
        if free < self._floor:
            self._relieve(live, free)

    def _relieve(self, live: Mapping[Path, LiveWorkspace], free: int) -> None:
        """End the executions of one workspace that are not being ended already."""
        candidates = {
            directory: workspace
            for directory, workspace in live.items()
            if any(control.ended_by is None for control in workspace.controls)
        }
        chosen = to_end_under_pressure(self._grown(candidates), raw_log_bytes(candidates, self._pump.backlogs()))
        if chosen is None:
            return
        log.warning(
            "the disk is nearly full; the executions of a workspace are ended", directory=str(chosen), free_bytes=free
        )
        self._last_ended, self._ended_at = chosen, time.monotonic()
        for control in candidates[chosen].controls:
            control.ask_end(Reason.DISK_PRESSURE)
        self._metrics.swept("disk_pressure")

    def _grown(self, workspaces: Mapping[Path, LiveWorkspace]) -> dict[Path, int | None]:
        processes = processes_by_container()
        for workspace in workspaces.values():
            self._meter.measure(workspace.cap, processes, MEASUREMENT_TIMEOUT_SECONDS)
        return {directory: self._meter.growth(directory) for directory in workspaces}


def raw_log_bytes(workspaces: Mapping[Path, LiveWorkspace], backlogs: Mapping[UUID, Backlog]) -> dict[Path, int]:
    """Bytes of raw log files of each workspace's live executions."""
    none = Backlog(0, 0)
    return {
        directory: sum(backlogs.get(control.execution_id, none).file_bytes for control in workspace.controls)
        for directory, workspace in workspaces.items()
    }
