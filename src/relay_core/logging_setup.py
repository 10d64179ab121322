"""The logs of Relay's own processes: one line of key=value for each event, on stderr.

Tracebacks are logged without the values of variables: requests carry prompts and secrets, which must not get into logs.
"""

import logging
import sys
from typing import Any

import structlog

_BOUND: dict[str, str] = {}
"""Words in each line of this process's log, from any thread."""


def bind_to_logs(**words: str) -> None:
    """Add words to all later log lines of this process."""
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
    """Set up logging, so that lines of Relay and of libraries have one form and the same bound words.

    May be called again.

    Args:
        level: the least severe level that is logged, as Python names it.
    """
    structlog.configure(
        processors=[*_SHARED, _RENDER],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level]),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(structlog.stdlib.ProcessorFormatter(processor=_RENDER, foreign_pre_chain=_SHARED))
    logging.basicConfig(level=level, handlers=[handler], force=True)
