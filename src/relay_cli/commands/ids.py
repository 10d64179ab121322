"""Arguments and options of commands that take an id, or the first characters of one."""

import re
from typing import Annotated

import typer

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


def id_argument(help_text: str) -> typer.models.ArgumentInfo:
    """Return the declaration of a required argument that takes an id."""
    info: typer.models.ArgumentInfo = typer.Argument(help=help_text, parser=parse_id, metavar="ID", show_default=False)
    return info


def id_option(help_text: str) -> typer.models.OptionInfo:
    """Return the declaration of an option that takes an id."""
    info: typer.models.OptionInfo = typer.Option(help=help_text, parser=parse_id, metavar="ID")
    return info


AnyId = Annotated[
    str, id_argument("Id of a run, or of anything that belongs to it (step, workspace, session); see `relay ps`.")
]
ExecutionId = Annotated[str, id_argument("Id of an execution (a step); see `relay show`.")]
WorkspaceId = Annotated[str, id_argument("Id of a workspace, or of anything that belongs to it; see `relay ps`.")]
