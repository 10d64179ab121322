"""The base class of readers for agents that print JSON lines, and functions that read values of unknown type."""

from abc import abstractmethod
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, TypeGuard

from relay_workers.agents.shared.agent_reader import AgentReader
from relay_workers.agents.shared.json_lines import JsonLines
from relay_workers.agents.shared.plain_text import plain_text

MAX_ID = 200
"""Longest accepted id of a session or message, in characters."""


class JsonReader(AgentReader[dict[str, Any]]):
    """Passes each JSON object of the output to `take_line`.

    A subclass sets `agent_session_id`, `summary` and the other properties when the output shows them.
    """

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
        """Pass the line to `take_line`; skip a line with values of unexpected types or very deep nesting."""
        with suppress(TypeError, ValueError, AttributeError, RecursionError):
            self.take_line(line)

    @abstractmethod
    def take_line(self, line: dict[str, Any]) -> None:
        """Handle one JSON object of the output.

        The method may raise TypeError, ValueError, AttributeError or RecursionError for values of unexpected types; the
        caller then skips the line.
        """


def valid_id(value: object) -> str | None:
    """Return an id from the agent's output if Relay can store it and pass it back to the agent; otherwise None."""
    return plain_text(value) if isinstance(value, str) and 0 < len(value) <= MAX_ID else None


def is_number(value: Any) -> TypeGuard[float]:
    """Return whether the value is a number, no bool, below 10^15: a number that a database column can hold."""
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e15


def numbers(found: object, names: Mapping[str, str]) -> dict[str, float]:
    """Return the numbers of a JSON object under Relay's names; fields that are no numbers are left out.

    Args:
        found: the JSON object from the agent's output; a value of another type counts as an empty object.
        names: the agent's name of a field → Relay's name of the number.
    """
    source = found if isinstance(found, Mapping) else {}
    return {ours: float(source[theirs]) for theirs, ours in names.items() if is_number(source.get(theirs))}


def text_of(value: object) -> str:
    """Return the value if it is a string, otherwise the empty string."""
    return value if isinstance(value, str) else ""


def object_of(value: object) -> dict[str, Any]:
    """Return the value if it is a JSON object, otherwise an empty object."""
    return value if isinstance(value, dict) else {}
