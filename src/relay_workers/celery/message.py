"""Checks messages from a queue: a valid message contains an execution id and an attempt, and nothing else."""

import json
from collections.abc import Collection, Mapping
from typing import Any
from uuid import UUID

from relay_core.domain.message import task_id

LONGEST_BODY = 64 << 10
"""The maximum length of a body in characters; a message of Relay has about 150."""
LAST_ATTEMPT = 2**31 - 1
"""The maximum number of an attempt: the largest integer of its column in Postgres."""
KEPT = ("lang", "task", "id", "root_id", "parent_id", "argsrepr", "kwargsrepr", "origin")
"""The headers that are passed on to Celery. Others (`eta`, `expires`, …) could change when and whether it runs the
task."""


class UnreadableMessage(ValueError):  # noqa: N818 - the name is the statement
    """A message was not sent by Relay; the error text states why."""


def checked_headers(headers: object, body: object, tasks: Collection[str]) -> dict[str, Any]:
    """Check a message; return the headers that are passed on to Celery.

    Args:
        headers: the headers of the received message.
        body: the body of the received message, text or bytes.
        tasks: the names of all tasks.

    Raises:
        UnreadableMessage: the message is not valid.
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
    """Return Celery's task id of the attempt that a body names.

    Raises:
        UnreadableMessage: the body is not valid.
    """
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
