"""Steps of a run as the page shows them: clocks, why they wait, and their task in Flower."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from relay_core.domain.message import task_id
from relay_core.domain.vocabulary import Status


def shown_step(view: Mapping[str, Any], flower_url: str | None) -> dict[str, Any]:
    """Return an execution of `execution_views` with what the page adds to it.

    Args:
        view: the execution.
        flower_url: address of Flower; None: there is no link.
    """
    now = datetime.now(UTC)
    started, ended = view["started_at"], view["completed_at"]
    queue_end = started or ended or now
    return {
        **view,
        "queued": (queue_end - view["created_at"]).total_seconds(),
        "ran": ((ended or now) - started).total_seconds() if started else None,
        "flower": flower_link(flower_url, view["id"], view["attempt"]),
        "why": why_waits(view["queue"]) if view.get("queue") else None,
    }


def flower_link(flower_url: str | None, execution_id: UUID, attempt: int) -> str | None:
    """Return the address of an execution's task in Flower; None without a Flower."""
    return f"{flower_url.rstrip('/')}/task/{task_id(execution_id, attempt)}" if flower_url else None


def waits_for(queue: Mapping[str, Any]) -> str:
    """Return that a queued step waits, and why, as one sentence: `waits for …`, or `waits: …` before a clause."""
    why = why_waits(queue)
    return f"waits {why}" if why.startswith("for ") else f"waits: {why}"


def why_waits(queue: Mapping[str, Any] | None) -> str:
    """Return why a queued step waits, as a sentence for people."""
    if not queue:
        return "for a worker"
    if queue["waits"]:
        return str(queue["waits"])
    if queue["waits_for"]:
        return "for a running step of the same workspace"
    if queue["ahead"]:
        count = queue["ahead"]
        return f"for {count} step{'' if count == 1 else 's'} before it in the same workspace"
    return "for a worker"


def is_over(view: Mapping[str, Any]) -> bool:
    """Return whether an execution has ended."""
    return Status(view["status"]).final
