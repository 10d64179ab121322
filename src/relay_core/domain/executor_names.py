"""The executors that a coding-agent step can name, and what each needs: known to the API, which runs none of them."""

import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from relay_core.domain.errors import InvalidInput

MAX_COMMAND_BYTES = 64 << 10
"""Longest ``command``; a longer one belongs into a script of the repository."""


@dataclass(frozen=True)
class ExecutorKind:
    """What a request may say about one executor."""

    name: str
    summary: str
    command_required: bool = False
    variants: tuple[str, ...] = ("default",)
    """The first is meant where none is given."""
    command_is_program: bool = False
    """``command`` replaces the agent's own program (words as in a shell), instead of being what runs."""


SHELL = ExecutorKind("shell", "any command; the prompt is on its standard input", command_required=True)
CLAUDE_CODE = ExecutorKind(
    "claude-code",
    "Anthropic's Claude Code, without asking for permissions; variant plan may only read",
    variants=("default", "plan"),
    command_is_program=True,
)

EXECUTORS: Mapping[str, ExecutorKind] = {kind.name: kind for kind in (SHELL, CLAUDE_CODE)}


@dataclass(frozen=True)
class ExecutorChoice:
    """A checked ``{"name", "command", "variant"}``."""

    name: str
    command: str | None = None
    variant: str | None = None

    @property
    def kind(self) -> ExecutorKind:
        """What is known of the executor."""
        return EXECUTORS[self.name]

    def as_json(self) -> dict[str, str | None]:
        """As a session stores it."""
        return {"name": self.name, "command": self.command, "variant": self.variant}


def executor_kind(name: object) -> ExecutorKind:
    """The executor of that name.

    Raises:
        InvalidInput: there is none; the message lists those there are.
    """
    kind = EXECUTORS.get(name) if isinstance(name, str) else None
    if kind is None:
        raise InvalidInput(
            f"executor.name {name!r} is not known; there are: {', '.join(EXECUTORS)}", field="executor.name"
        )
    return kind


def check_executor(given: Mapping[str, Any]) -> ExecutorChoice:
    """The choice that a request makes, with an empty command or variant read as none.

    Raises:
        InvalidInput: an unknown executor, field or variant, or a command that is missing or cannot be one.
    """
    if unknown := sorted(set(given) - {"name", "command", "variant"}):
        raise InvalidInput(f"executor.{unknown[0]} is not a field; there are: name, command, variant", field="executor")
    kind = executor_kind(given.get("name"))
    command = _text(given, "command")
    variant = _text(given, "variant")
    if variant is not None and variant not in kind.variants:
        known = ", ".join(kind.variants)
        raise InvalidInput(
            f"executor.variant {variant!r} is not known for {kind.name}; there are: {known}", field="executor.variant"
        )
    if command is None and kind.command_required:
        raise InvalidInput(
            f"executor.command is required for {kind.name}: the command line to run", field="executor.command"
        )
    if command is not None and kind.command_is_program:
        program_words(command)
    return ExecutorChoice(kind.name, command, variant)


def program_words(command: str) -> tuple[str, ...]:
    """The words of a command line that stands for a program; at least one.

    Raises:
        InvalidInput: its quotes do not match, or it holds no word.
    """
    try:
        words = tuple(shlex.split(command))
    except ValueError as error:
        raise InvalidInput(f"executor.command cannot be read as words: {error}", field="executor.command") from error
    if not words or not words[0]:
        raise InvalidInput("executor.command names no program", field="executor.command")
    return words


def _text(given: Mapping[str, Any], name: str) -> str | None:
    value = given.get(name)
    if value is None:
        return None
    field = f"executor.{name}"
    if not isinstance(value, str):
        raise InvalidInput(f"{field} must be a text", field=field)
    if "\0" in value:
        raise InvalidInput(f"{field} must not hold a NUL character", field=field)
    if len(value.encode(errors="replace")) > MAX_COMMAND_BYTES:
        raise InvalidInput(f"{field} is longer than {MAX_COMMAND_BYTES} bytes: put it into a file", field=field)
    return value if value.strip() else None
