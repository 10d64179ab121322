"""What the readers of agents that print JSON lines have in common."""

from abc import abstractmethod
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, TypeGuard

from relay_workers.agents.shared.json_lines import JsonLines
from relay_workers.agents.shared.plain_text import plain_text
from relay_workers.agents.shared.turn_rules import AgentTurn

MAX_ID = 200
"""Longest id of a session or message that is believed."""


class JsonTurn(AgentTurn):
    """Feeds lines to `take_line`; a subclass sets `agent_session_id`, `summary` and the rest as it learns them."""

    def __init__(self, *, may_write: bool = True) -> None:
        super().__init__(may_write=may_write)
        self._lines = JsonLines()
        self._summary: str | None = None

    @property
    def summary(self) -> str | None:
        """Its last words."""
        return self._summary

    @summary.setter
    def summary(self, said: str | None) -> None:
        self._summary = said

    def feed(self, data: bytes) -> None:
        """Take the next bytes."""
        for line in self._lines.feed(data):
            self._take(line)

    def _read_to_end(self) -> None:
        for line in self._lines.finish():
            self._take(line)

    def _take(self, line: dict[str, Any]) -> None:
        """A line may be anything: what no agent prints (a list where a word belongs, endless depth) is passed over."""
        with suppress(TypeError, ValueError, AttributeError, RecursionError):
            self.take_line(line)

    @abstractmethod
    def take_line(self, line: dict[str, Any]) -> None:
        """Understand one line."""


def valid_id(value: object) -> str | None:
    """An id as it can be stored and given back; None for what is none."""
    return plain_text(value) if isinstance(value, str) and 0 < len(value) <= MAX_ID else None


def is_number(value: Any) -> TypeGuard[float]:
    """Whether it is a number that a column can take."""
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e15


def numbers(found: object, names: Mapping[str, str]) -> dict[str, float]:
    """The numbers in an object by our names for them.

    Args:
        found: an object of the agent's, or anything else.
        names: theirs → ours.
    """
    given = found if isinstance(found, Mapping) else {}
    return {ours: float(given[theirs]) for theirs, ours in names.items() if is_number(given.get(theirs))}


def text_of(value: object) -> str:
    """A text wherever the agent may have put something else."""
    return value if isinstance(value, str) else ""


def object_of(value: object) -> dict[str, Any]:
    """An object wherever the agent may have put something else."""
    return value if isinstance(value, dict) else {}
