"""Stops executions whose workspace uses more disk space than its limit allows."""

import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import structlog

from relay_core.domain.vocabulary import Reason
from relay_workers.maintenance.disk_meter import DiskMeter, LiveWorkspace, live_workspaces
from relay_workers.maintenance.disk_usage import DiskUsage, processes_by_container
from relay_workers.metrics import Metrics
from relay_workers.ownership.live_executions import LiveExecutions

log = structlog.get_logger(__name__)

MEASURE_SECONDS = 5.0
QUICK_SECONDS = 0.1
"""A workspace whose measurement took at most this time is measured together with others."""
TOGETHER = 100
"""The maximum number of workspaces that are measured together."""
TOGETHER_SECONDS = 2.0
"""If measuring some together takes longer than this, one has grown: each is measured alone next."""
PAUSE_PER_SECOND_MEASURED = 10.0
"""Pause after a measurement, as a multiple of its duration: a directory that took 3 s is measured again after 30 s."""


class DiskLimits:
    """Measures the live workspaces, and stops the executions of each one that exceeds its limit.

    Each measurement starts processes, so small workspaces are measured together. A large one is measured alone, so that
    the others do not wait for it; so is each one at first.

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
        self._quick: set[Path] = set()

    def sweep(self) -> None:
        """Measure every workspace whose pause since its last measurement is over."""
        workspaces = live_workspaces(self._live)
        self._meter.forget_others(workspace.cap for workspace in workspaces.values())
        self._due_at = {directory: at for directory, at in self._due_at.items() if directory in workspaces}
        self._quick &= workspaces.keys()
        now = time.monotonic()
        due = [workspace for directory, workspace in workspaces.items() if self._due_at.get(directory, 0.0) <= now]
        processes = processes_by_container() if due else {}
        quick = [workspace for workspace in due if workspace.cap.directory in self._quick]
        alone = [workspace for workspace in due if workspace.cap.directory not in self._quick]
        for first in range(0, len(quick), TOGETHER):
            self._check_together(quick[first : first + TOGETHER], processes)
        for workspace in alone:
            self._check(workspace, processes)

    def _check_together(self, workspaces: Sequence[LiveWorkspace], processes: Mapping[str, list[int]]) -> None:
        began = time.monotonic()
        usages = self._meter.measure_together([one.cap for one in workspaces], processes, TOGETHER_SECONDS)
        seconds = time.monotonic() - began
        for workspace, usage in zip(workspaces, usages, strict=True):
            directory = workspace.cap.directory
            if usage is None or seconds > TOGETHER_SECONDS:
                self._quick.discard(directory)
            else:
                self._due_at[directory] = began + seconds * (1 + PAUSE_PER_SECOND_MEASURED)
            self._judge(workspace, usage)

    def _check(self, workspace: LiveWorkspace, processes: Mapping[str, list[int]]) -> None:
        cap = workspace.cap
        began = time.monotonic()
        usage = self._meter.measure(cap, processes)
        now = time.monotonic()
        self._due_at[cap.directory] = now + PAUSE_PER_SECOND_MEASURED * (now - began)
        if usage is not None and now - began <= QUICK_SECONDS:
            self._quick.add(cap.directory)
        self._judge(workspace, usage)

    def _judge(self, workspace: LiveWorkspace, usage: DiskUsage | None) -> None:
        """Stop the executions of a workspace that exceeds its limit."""
        cap = workspace.cap
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
