"""Removes scratch directories and tool containers that killed workers of this node left behind.

Relay's tools are the programs that it runs in containers of its own, such as git.
"""

from functools import partial
from pathlib import Path

import structlog

from relay_core.domain.errors import StepFailed
from relay_workers.containers.port import EngineUnavailable
from relay_workers.containers.tool import ToolRunner
from relay_workers.git.host import scratch
from relay_workers.metrics import Metrics
from relay_workers.ownership.node_identity import is_dead

log = structlog.get_logger(__name__)

SWEEP_SECONDS = 60.0


def died_here(data_dir: Path, node_id: str, owner: str) -> bool:
    """Return whether ``owner`` is a dead worker of this node. False for workers of other nodes on the same engine."""
    return f"@{node_id}#" in owner and is_dead(data_dir, owner)


def sweep(data_dir: Path, node_id: str, tool: ToolRunner, metrics: Metrics) -> None:
    """Remove one batch of these directories and containers. Those of living workers stay."""
    metrics.swept("scratch", scratch.sweep(data_dir))
    try:
        removed = tool.sweep(partial(died_here, data_dir, node_id))
    except (EngineUnavailable, StepFailed) as error:
        log.warning("tool containers are not swept", error=str(error))
        return
    metrics.swept("tool_container", removed)
