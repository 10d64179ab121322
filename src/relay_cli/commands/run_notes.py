"""The options for a run's title, labels and metadata, of the commands that make a run."""

import json
from typing import Annotated, Any

import typer

from relay_cli import completion
from relay_cli.commands.run_request import pairs, set_fields
from relay_cli.errors import CommandFailed

Label = Annotated[
    list[str] | None,
    typer.Option(
        metavar="NAME=VALUE",
        help="Label of the run, for `relay ps --label`. Repeat the option for more of them.",
        autocompletion=completion.labels,
    ),
]
Title = Annotated[str | None, typer.Option(help="Title of the run; without it the prompt's first line.")]
Metadata = Annotated[
    str | None,
    typer.Option(
        metavar="JSON", help="JSON object that Relay keeps with the run and gives back (`relay show --json`)."
    ),
]


def notes(title: str | None, labels: list[str] | None, metadata: str | None) -> dict[str, Any]:
    """Return the fields of a request for the run's title, labels and metadata; empty if none is given.

    Args:
        title: value of --title.
        labels: values of --label, NAME=VALUE.
        metadata: value of --metadata, a JSON object.

    Raises:
        CommandFailed: a label has no name or no ``=``, or the metadata is not a JSON object.
    """
    return set_fields({"title": title, "labels": pairs(labels or [], "--label"), "metadata": _object(metadata)})


def _object(text: str | None) -> dict[str, Any]:
    """Return the object that the value of --metadata is."""
    try:
        found = {} if text is None else json.loads(text)
    except ValueError as error:
        raise CommandFailed(f"--metadata takes a JSON object: {error}", 2) from error
    if not isinstance(found, dict):
        raise CommandFailed('--metadata takes a JSON object, such as {"ticket": 7}', 2)
    return found
