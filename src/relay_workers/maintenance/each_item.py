"""Processes the items of a sweep so that one failure does not stop the others."""

from collections.abc import Callable, Iterable
from typing import TypeVar

import structlog

from relay_core.domain.errors import Stale

log = structlog.get_logger(__name__)
T = TypeVar("T")


def act_on_each(items: Iterable[T], act: Callable[[T], None]) -> int:
    """Call ``act`` with each item. An error is logged and the next item follows.

    Returns:
        The number of calls that raised no error.
    """
    succeeded = 0
    for item in items:
        try:
            act(item)
            succeeded += 1
        except Stale as error:
            log.info("another worker has done this", item=str(item), why=str(error))
        except Exception:
            log.exception("one item of a sweep failed", item=str(item))
    return succeeded
