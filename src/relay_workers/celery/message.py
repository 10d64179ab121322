"""Checks messages from a queue: a worker accepts an execution id and an attempt, and nothing else."""

import json
from collections.abc import Collection, Mapping
from typing import Any
from uuid import UUID

from relay_core.domain.message import task_id

LONGEST_BODY = 64 << 10
"""Largest length in characters; a message of Relay's has about 150."""
LAST_ATTEMPT = 2**31 - 1
"""Largest number of an attempt, as Postgres stores it."""
KEPT = ("lang", "task", "id", "root_id", "parent_id", "argsrepr", "kwargsrepr", "origin")
"""Headers that Celery gets; others (`eta`, `expires`, …) would change when and whether it runs the task."""


class UnreadableMessage(ValueError):  # noqa: N818 - the name is the statement
    """A message is not one of Relay's; the text says why."""


def checked_headers(headers: object, body: object, tasks: Collection[str]) -> dict[str, Any]:
    """The headers of a message that Celery gets.

    Args:
        headers: of the message as received.
        body: of the message as received, text or bytes.
        tasks: names of all tasks.

    Raises:
        UnreadableMessage: the message is refused.
    """
    if not isinstance(headers, Mapping):
        raise UnreadableMessage("its headers are no mapping")
    task = headers.get("task")
    if not isinstance(task, str) or task not in tasks:
        raise UnreadableMessage(f"there is no task {task!r:.80}")
    if headers.get("id") != _task_id_of(body):
        raise UnreadableMessage("its id is not that of its execution and attempt")
    return {name: value for name in KEPT if isinstance(value := headers.get(name), str)}


def _task_id_of(body: object) -> str:
    """Celery's id of the attempt that a body names."""
    if not isinstance(body, str | bytes) or len(body) > LONGEST_BODY:
        raise UnreadableMessage("its body is no text, or too long")
    try:
        content = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise UnreadableMessage("its body is no JSON") from error
    match content:
        case [[str(execution_id), int(attempt)], dict(named), dict(embedded)]:
            pass
        case _:
            raise UnreadableMessage("its body is not [[execution, attempt], {}, {}]")
    if named or any(embedded.values()):
        raise UnreadableMessage("its body carries more than an execution and an attempt")
    if isinstance(attempt, bool) or not 1 <= attempt <= LAST_ATTEMPT:
        raise UnreadableMessage("its attempt is no number from 1")
    try:
        return task_id(UUID(execution_id), attempt)
    except ValueError as error:
        raise UnreadableMessage("its execution is no id") from error
