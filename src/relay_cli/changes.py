"""Bodies of requests that change a resource: options that were given, and fields to clear."""

from collections.abc import Collection, Mapping, Sequence
from typing import Annotated, Any

import typer

from relay_cli.errors import CommandFailed

Clear = Annotated[
    list[str] | None,
    typer.Option(metavar="FIELD", help="Field to clear, as `--json` names it. Repeat the option for more of them."),
]
"""The option `--clear` of commands that change a resource."""


def patch(given: Mapping[str, Any], clear: Sequence[str] | None, clearable: Collection[str]) -> dict[str, Any]:
    """Return the body of a PATCH: the values that were given, and null for each field to clear.

    Args:
        given: value of each option by field; None: it was not given.
        clear: fields to clear.
        clearable: fields that can be cleared.

    Raises:
        CommandFailed: a field cannot be cleared, or is given and cleared at once, or nothing is to be changed.
    """
    body = {name: value for name, value in given.items() if value is not None}
    for name in clear or []:
        if name not in clearable:
            raise CommandFailed(f"--clear: {name} cannot be cleared; these can: {', '.join(sorted(clearable))}", 2)
        if name in body:
            raise CommandFailed(f"--clear {name} contradicts the option that sets it", 2)
        body[name] = None
    if not body:
        raise CommandFailed("nothing is to be changed; give an option with a new value, or --clear FIELD", 2)
    return body
