"""Terminates this worker if the thread of its log pump is dead."""

import os
import signal

import structlog

from relay_workers.capture.pump import LogPump

log = structlog.get_logger(__name__)

WATCHDOG_SECONDS = 5.0


def check(pump: LogPump) -> None:
    """Send this process TERM if its log pump is dead.

    A worker that is started in its place takes over its executions.
    """
    if pump.is_dead:
        log.critical("the log pump is dead; this worker ends, so that another one takes its executions")
        os.kill(os.getpid(), signal.SIGTERM)
