"""Arguments and options of commands that take an id, or the first characters of one."""

import re
from collections.abc import Callable
from typing import Annotated

import typer

from relay_cli import completion

Complete = Callable[[str], completion.Values]
SHORTEST = 4
"""Least characters of an id that the API takes as its beginning."""
_ID = re.compile(rf"[0-9a-f][0-9a-f-]{{{SHORTEST - 1},35}}")


def parse_id(text: str) -> str:
    """Return the id that a person typed, or the beginning of one. The API finds what it belongs to.

    Raises:
        typer.BadParameter: the text cannot be the beginning of an id.
    """
    found = text.strip().lower()
    if _ID.fullmatch(found) is None:
        message = f"{text!r} is no id. Give one, or at least its first {SHORTEST} characters; `relay ps` lists them."
        raise typer.BadParameter(message)
    return found


parse_id.__name__ = "id"  # what `--help` shows as the kind of value


def id_argument(help_text: str, complete: Complete = completion.runs) -> typer.models.ArgumentInfo:
    """Return the declaration of a required argument that takes an id.

    Args:
        help_text: what the id belongs to.
        complete: returns the ids that a shell offers for a beginning.
    """
    info: typer.models.ArgumentInfo = typer.Argument(
        help=help_text, parser=parse_id, metavar="ID", show_default=False, autocompletion=complete
    )
    return info


def id_option(help_text: str, complete: Complete = completion.workspaces) -> typer.models.OptionInfo:
    """Return the declaration of an option that takes an id; for the arguments see `id_argument`."""
    info: typer.models.OptionInfo = typer.Option(help=help_text, parser=parse_id, metavar="ID", autocompletion=complete)
    return info


AnyId = Annotated[
    str, id_argument("Id of a run, or of anything that belongs to it (step, workspace, session); see `relay ps`.")
]
ExecutionId = Annotated[str, id_argument("Id of an execution (a step); see `relay show`.")]
WorkspaceId = Annotated[
    str,
    id_argument("Id of a workspace, or of anything that belongs to it; see `relay ps`.", completion.workspaces),
]
