"""Arguments and options of commands that take an id."""

from typing import Annotated
from uuid import UUID

import typer


def parse_id(text: str) -> UUID:
    """Return the id that a person typed, as a UUID.

    Raises:
        typer.BadParameter: the text is not a UUID.
    """
    try:
        return UUID(text)
    except ValueError:
        message = f"{text!r} is no id. An id looks like 0b8f8f4e-5c1d-4c8e-9f0a-2b7d6e1f3a4c; `relay ps` lists them."
        raise typer.BadParameter(message) from None


def id_argument(help_text: str) -> typer.models.ArgumentInfo:
    """Return the declaration of a required argument that takes an id."""
    info: typer.models.ArgumentInfo = typer.Argument(help=help_text, parser=parse_id, metavar="ID", show_default=False)
    return info


def id_option(help_text: str) -> typer.models.OptionInfo:
    """Return the declaration of an option that takes an id."""
    info: typer.models.OptionInfo = typer.Option(help=help_text, parser=parse_id, metavar="ID")
    return info


ExecutionId = Annotated[UUID, id_argument("Id of an execution; see `relay ps`.")]
WorkspaceId = Annotated[UUID, id_argument("Id of a workspace; see `relay ps`.")]
