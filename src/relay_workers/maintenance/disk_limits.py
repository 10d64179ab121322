"""Stops executions whose workspace uses more disk space than its limit allows."""

import time
from collections.abc import Mapping
from pathlib import Path

import structlog

from relay_core.domain.vocabulary import Reason
from relay_workers.maintenance.disk_meter import DiskMeter, LiveWorkspace, live_workspaces
from relay_workers.maintenance.disk_usage import processes_by_container
from relay_workers.metrics import Metrics
from relay_workers.ownership.live_executions import LiveExecutions

log = structlog.get_logger(__name__)

MEASURE_SECONDS = 5.0
PAUSE_PER_SECOND_MEASURED = 10.0
"""Pause after a measurement, as a multiple of its duration: a directory that took 3 s is measured again after 30 s."""


class DiskLimits:
    """Measures the live workspaces one after the other, and stops the executions of each one that exceeds its limit.

    Args:
        live: the executions of this worker.
        meter: measures a workspace.
        metrics: counts stopped executions.
    """

    def __init__(self, live: LiveExecutions, meter: DiskMeter, metrics: Metrics) -> None:
        self._live = live
        self._meter = meter
        self._metrics = metrics
        self._due_at: dict[Path, float] = {}

    def sweep(self) -> None:
        """Measure every workspace whose pause since its last measurement is over."""
        workspaces = live_workspaces(self._live)
        self._meter.forget_others(workspace.cap for workspace in workspaces.values())
        self._due_at = {directory: at for directory, at in self._due_at.items() if directory in workspaces}
        now = time.monotonic()
        due = [workspace for directory, workspace in workspaces.items() if self._due_at.get(directory, 0.0) <= now]
        processes = processes_by_container() if due else {}
        for workspace in due:
            self._check(workspace, processes)

    def _check(self, workspace: LiveWorkspace, processes: Mapping[str, list[int]]) -> None:
        cap = workspace.cap
        began = time.monotonic()
        usage = self._meter.measure(cap, processes)
        now = time.monotonic()
        self._due_at[cap.directory] = now + PAUSE_PER_SECOND_MEASURED * (now - began)
        if usage is not None and usage.exceeds(cap.bytes):
            log.warning(
                "a workspace is over its disk limit",
                directory=str(cap.directory),
                bytes=usage.bytes,
                files=usage.files,
            )
            for control in workspace.controls:
                control.ask_end(Reason.DISK_LIMIT)
                self._metrics.swept("disk_limit")
