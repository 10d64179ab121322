"""What API and workers write about themselves: one line of key=value per event on stderr.

Tracebacks are shown without the values of variables: requests carry prompts and secrets, and an error of Relay's own
must not put them into a log.
"""

import logging
import sys
from typing import Any

import structlog

_BOUND: dict[str, str] = {}
"""In every line of this process's log, whatever thread writes it."""


def bind_to_logs(**words: str) -> None:
    """Add words to all further log lines."""
    _BOUND.update(words)


def _bound(_logger: Any, _method: str, event: Any) -> Any:
    return {**_BOUND, **event}


_SHARED: tuple[Any, ...] = (
    _bound,
    structlog.contextvars.merge_contextvars,
    structlog.processors.add_log_level,
    structlog.processors.TimeStamper(fmt="iso", utc=True),
    structlog.processors.format_exc_info,
)
_RENDER = structlog.processors.LogfmtRenderer(key_order=["timestamp", "level", "event"], bool_as_flag=False)


def configure_logging(level: str) -> None:
    """Relay's own lines and those of libraries look alike, and carry the same bound words; again changes nothing.

    Args:
        level: the least severe that is shown, as Python names it.
    """
    structlog.configure(
        processors=[*_SHARED, _RENDER],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level]),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(structlog.stdlib.ProcessorFormatter(processor=_RENDER, foreign_pre_chain=_SHARED))
    logging.basicConfig(level=level, handlers=[handler], force=True)
