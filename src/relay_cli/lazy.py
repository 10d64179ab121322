"""Commands whose modules are imported when they are called, so that `relay` starts quickly."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import typer
from typer.core import TyperCommand, TyperGroup
from typer.main import get_command, get_group

from relay_core.quick_start import load


@dataclass(frozen=True)
class Entry:
    """One command, or one group of commands, of the table of `relay`.

    Attributes:
        name: the word that a person types.
        target: `MODULE:NAME` of the function, or of the `typer.Typer` of a group.
        summary: the first sentence of the help text, for lists of commands. It is here so that a list imports nothing.
        panel: heading below which `relay --help` lists the command.
        hidden: True for an old name, which works and is not listed.
    """

    name: str
    target: str
    summary: str
    panel: str
    hidden: bool = False

    def placeholder(self) -> TyperCommand:
        """Return what a list of commands shows of this one."""
        return TyperCommand(self.name, help=self.summary, hidden=self.hidden, rich_help_panel=self.panel)

    def command(self) -> Any:
        """Import the command and return it."""
        return as_command(self.name, load(self.target))


class PlainUsage(TyperCommand):
    """A command whose usage names arguments in capitals (`ID`), not in braces as typer does (`{id}`)."""

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        """Return the words of the usage after the command's name."""
        return [piece.strip("{}").upper() for piece in super().collect_usage_pieces(ctx)]


def as_command(name: str, found: Callable[..., None] | typer.Typer) -> Any:
    """Return the command of a function, or the group of commands of a `typer.Typer`."""
    if isinstance(found, typer.Typer):
        for each in found.registered_commands:
            each.cls = PlainUsage
        group = get_group(found)  # also if it has one command, whose name a person types all the same
        group.name = name
        return group
    single = typer.Typer(add_completion=False)
    single.command(name, cls=PlainUsage)(found)
    return get_command(single)


class LazyGroup(TyperGroup):
    """A group of commands that imports the module of a command when the command is called or completed.

    A subclass sets `entries`.
    """

    entries: ClassVar[tuple[Entry, ...]] = ()

    def __init__(self, **attributes: Any) -> None:
        super().__init__(**attributes)
        for entry in self.entries:
            self.commands[entry.name] = entry.placeholder()

    def resolve_command(self, ctx: Any, args: list[str]) -> tuple[str | None, Any, list[str]]:
        """Return the command that the first of ``args`` names, imported, and the other arguments."""
        name, command, rest = super().resolve_command(ctx, args)
        entry = next((entry for entry in self.entries if entry.name == name), None)
        return name, command if entry is None else entry.command(), rest
