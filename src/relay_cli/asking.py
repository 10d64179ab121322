"""Ask a person before something is deleted."""

import sys
from typing import Annotated

import typer

from relay_cli.errors import CommandFailed

Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask. Needed where there is no terminal to ask at.")]
"""The option `--yes` of every command that deletes something."""


def make_sure(what: str, *, yes: bool) -> None:
    """Return if the person confirms that ``what`` is to be done, or has done so by `--yes`.

    Args:
        what: what will happen, as in "delete workspace 3f2a91bc".
        yes: whether `--yes` was given.

    Raises:
        CommandFailed: the person refuses, or there is no terminal to ask at.
    """
    if yes:
        return
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise CommandFailed(f"to {what} without a terminal to ask at, add --yes", 2)
    if not typer.confirm(f"relay: {what[0].upper()}{what[1:]}?", err=True):
        raise CommandFailed("nothing was deleted")
