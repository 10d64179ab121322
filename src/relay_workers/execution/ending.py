"""Ending every process of an execution, verified: the one way to it, for kills, caps, leftovers and broken steps.

An execution's processes are found by its gid. A process of root can change its gid; so where one was possible,
everything in the container goes that is of no running execution.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from uuid import UUID

import structlog

from relay_core.domain.errors import RelayError
from relay_core.store import events
from relay_core.store.executions import transitions
from relay_core.store.executions.lifecycle import Claimed
from relay_core.store.executions.offline_nodes import Leftover
from relay_workers.containers.port import EngineUnavailable, KillResult
from relay_workers.execution.context import WorkerContext
from relay_workers.ownership.node_lock import held

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Processes:
    """The processes of one execution, as far as they can be told from others."""

    execution_id: UUID
    workspace_id: UUID
    container_id: str
    gid: int
    as_root: bool
    """One of them was root, and may have changed its gid."""

    @classmethod
    def of(cls, claimed: Claimed, container_id: str, uid: int) -> "Processes":
        """Those of an execution of ours whose step runs as ``uid``."""
        return cls(claimed.execution_id, claimed.workspace_id, container_id, claimed.gid, as_root=uid == 0)

    @classmethod
    def left(cls, one: Leftover) -> "Processes | None":
        """Those of an execution that was ended before they were; None where it never got as far."""
        if one.container_id is None or one.gid is None:
            return None
        return cls(one.execution_id, one.workspace_id, one.container_id, one.gid, one.as_root)


def end_processes(context: WorkerContext, processes: Processes, *, grace_seconds: float) -> None:
    """End them all: TERM, ``grace_seconds``, KILL; returns when none is left.

    Raises:
        RelayError: that cannot be done or verified now; some of them may still run.
    """
    result = context.containers.kill_execution(processes.container_id, processes.gid, grace_seconds=grace_seconds)
    if processes.as_root and not result.restarted:
        with _no_start(context, processes.workspace_id):
            with context.database.connect() as connection:
                keep = transitions.running_gids(connection, processes.workspace_id, but=processes.execution_id)
            result = context.containers.end_leftovers(processes.container_id, keep)
    _note(context, processes, result)


def are_gone(context: WorkerContext, processes: Processes | None) -> bool:
    """End what may still run after a step broke; whether nothing of it runs any more, as far as can be verified.

    Args:
        context: of this worker.
        processes: None where nothing was started.
    """
    if processes is None:
        return True
    try:
        end_processes(context, processes, grace_seconds=0)
    except RelayError as error:
        log.warning("processes of a step may still run", error=str(error))
        return False
    return True


@contextmanager
def starting(context: WorkerContext, workspace_id: UUID) -> Iterator[None]:
    """Start a step within this block: what ends processes by their gid waits, so that it takes no new one for old."""
    with held(context.settings.data_dir, str(workspace_id), shared=True):
        yield


@contextmanager
def _no_start(context: WorkerContext, workspace_id: UUID) -> Iterator[None]:
    with held(context.settings.data_dir, str(workspace_id), shared=False):
        yield


def _note(context: WorkerContext, processes: Processes, result: KillResult) -> None:
    if result.remaining:
        raise EngineUnavailable(f"{result.remaining} processes of the step could not be ended", retryable=True)
    if result.restarted:
        with context.database.begin() as connection:
            why = {"why": "processes of an execution could not be ended one by one"}
            events.append(connection, processes.workspace_id, "workspace.container_restarted", why)
