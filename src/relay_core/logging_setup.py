"""Set up the logs of Relay's own processes: one line of key=value pairs for each event, on stderr.

Tracebacks are logged without the values of variables, because prompts and secrets in requests must not get into logs.
"""

import logging
import sys
from typing import Any

import structlog

_BOUND: dict[str, str] = {}
"""Key-value pairs that are added to each log line of this process, from any thread."""


def bind_to_logs(**words: str) -> None:
    """Add these key-value pairs to all later log lines of this process."""
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
    """Set up logging so that lines of Relay and of libraries have the same format and the pairs of `bind_to_logs`.

    It may be called again.

    Args:
        level: the least severe level that is logged, such as `INFO`.
    """
    structlog.configure(
        processors=[*_SHARED, _RENDER],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level]),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(structlog.stdlib.ProcessorFormatter(processor=_RENDER, foreign_pre_chain=_SHARED))
    logging.basicConfig(level=level, handlers=[handler], force=True)
