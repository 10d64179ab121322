"""What workers of this node left of Relay's own tools when they were killed: removed by a sweep, a batch at a time."""

from functools import partial
from pathlib import Path

import structlog

from relay_core.domain.errors import StepFailed
from relay_workers.containers.port import EngineUnavailable
from relay_workers.execution.context import WorkerContext
from relay_workers.git.host import scratch
from relay_workers.ownership.node_identity import is_dead

log = structlog.get_logger(__name__)

SWEEP_SECONDS = 60.0


def died_here(data_dir: Path, node_id: str, owner: str) -> bool:
    """Whether this was a worker of this node, and is gone. Others on the same engine are not ours to judge."""
    return f"@{node_id}#" in owner and is_dead(data_dir, owner)


def sweep(context: WorkerContext) -> None:
    """One batch; nothing that belongs to a living worker is touched."""
    data_dir = context.settings.data_dir
    context.metrics.swept("scratch", scratch.sweep(data_dir))
    try:
        removed = context.tool.sweep(partial(died_here, data_dir, context.claimant.node_id))
    except (EngineUnavailable, StepFailed) as error:
        log.warning("tool containers are not swept", error=str(error))
        return
    context.metrics.swept("tool_container", removed)
