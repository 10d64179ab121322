"""The base class of readers whose agents print JSON lines, and careful access to the values of such a line."""

from abc import abstractmethod
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, TypeGuard

from relay_workers.agents.shared.agent_reader import AgentReader
from relay_workers.agents.shared.json_lines import JsonLines
from relay_workers.agents.shared.plain_text import plain_text

MAX_ID = 200
"""Longest id of a session or message that is accepted, in characters."""


class JsonReader(AgentReader[dict[str, Any]]):
    """Passes each JSON object to `take_line`; a subclass sets `agent_session_id`, `summary`, … as it learns them."""

    def __init__(self, *, may_write: bool = True) -> None:
        super().__init__(JsonLines(), may_write=may_write)
        self._summary: str | None = None

    @property
    def summary(self) -> str | None:
        """The agent's last message: at most 4 KiB of UTF-8; None if there was none."""
        return self._summary

    @summary.setter
    def summary(self, text: str | None) -> None:
        self._summary = text

    def _take_line(self, line: dict[str, Any]) -> None:
        """Skip a line with values that no agent prints: a list in place of a text, or endless nesting."""
        with suppress(TypeError, ValueError, AttributeError, RecursionError):
            self.take_line(line)

    @abstractmethod
    def take_line(self, line: dict[str, Any]) -> None:
        """Understand one JSON object; errors of unexpected types may be raised, the line is then skipped."""


def valid_id(value: object) -> str | None:
    """Return an agent's id if it can be stored and passed back to the agent; else None."""
    return plain_text(value) if isinstance(value, str) and 0 < len(value) <= MAX_ID else None


def is_number(value: Any) -> TypeGuard[float]:
    """Return whether the value is a number that a database column can hold."""
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e15


def numbers(found: object, names: Mapping[str, str]) -> dict[str, float]:
    """Return the numbers of an agent's JSON object under Relay's names; other values are left out.

    Args:
        found: an object from the agent's output, or anything else in its place.
        names: the agent's name of a number → Relay's name.
    """
    source = found if isinstance(found, Mapping) else {}
    return {ours: float(source[theirs]) for theirs, ours in names.items() if is_number(source.get(theirs))}


def text_of(value: object) -> str:
    """Return the value if it is a text, else the empty text."""
    return value if isinstance(value, str) else ""


def object_of(value: object) -> dict[str, Any]:
    """Return the value if it is a JSON object, else an empty object."""
    return value if isinstance(value, dict) else {}
