"""The options for a run's title and labels, of the commands that make a run."""

from typing import Annotated, Any

import typer

from relay_cli import completion
from relay_cli.commands.run_request import pairs, set_fields

Label = Annotated[
    list[str] | None,
    typer.Option(
        metavar="NAME=VALUE",
        help="Label of the run, for `relay ps --label`. Repeat the option for more of them.",
        autocompletion=completion.labels,
    ),
]
Title = Annotated[str | None, typer.Option(help="Title of the run; without it the prompt's first line.")]


def notes(title: str | None, labels: list[str] | None) -> dict[str, Any]:
    """Return the fields of a request for the run's title and labels; empty if neither is given.

    Args:
        title: value of --title.
        labels: values of --label, NAME=VALUE.

    Raises:
        CommandFailed: a label has no name or no ``=``.
    """
    return set_fields({"title": title, "labels": pairs(labels or [], "--label")})
