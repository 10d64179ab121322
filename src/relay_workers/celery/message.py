"""What a worker accepts from a queue: an execution id and an attempt, and nothing else."""

import json
from collections.abc import Collection, Mapping
from typing import Any
from uuid import UUID

from relay_core.domain.message import task_id

LONGEST_BODY = 64 << 10
"""Characters; a message of ours has about 150."""
LAST_ATTEMPT = 2**31 - 1
KEPT = ("lang", "task", "id", "root_id", "parent_id", "argsrepr", "kwargsrepr", "origin")
"""Headers that Celery may see; the others (`eta`, `expires`, …) would have it do what nobody asked for."""


class Unreadable(ValueError):  # noqa: N818 - named for what it says
    """It is no message of ours; the text says why."""


def checked_headers(headers: object, body: object, tasks: Collection[str]) -> dict[str, Any]:
    """The headers with which a message may be given to Celery.

    Args:
        headers: of the message, as it came.
        body: text or bytes, as it came.
        tasks: names of tasks that there are.

    Raises:
        Unreadable: it is refused.
    """
    if not isinstance(headers, Mapping):
        raise Unreadable("its headers are no mapping")
    task = headers.get("task")
    if not isinstance(task, str) or task not in tasks:
        raise Unreadable(f"there is no task {task!r:.80}")
    if headers.get("id") != _meant(body):
        raise Unreadable("its id is not that of its execution and attempt")
    return {name: value for name in KEPT if isinstance(value := headers.get(name), str)}


def _meant(body: object) -> str:
    """Celery's id of the attempt that a body names."""
    if not isinstance(body, str | bytes) or len(body) > LONGEST_BODY:
        raise Unreadable("its body is no text, or too long")
    try:
        content = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise Unreadable("its body is no JSON") from error
    match content:
        case [[str(execution_id), int(attempt)], dict(named), dict(embedded)]:
            pass
        case _:
            raise Unreadable("its body is not [[execution, attempt], {}, {}]")
    if named or any(embedded.values()):
        raise Unreadable("its body carries more than an execution and an attempt")
    if isinstance(attempt, bool) or not 1 <= attempt <= LAST_ATTEMPT:
        raise Unreadable("its attempt is no number from 1")
    try:
        return task_id(UUID(execution_id), attempt)
    except ValueError as error:
        raise Unreadable("its execution is no id") from error
