"""`relay up | down`: start and stop the local stack."""

import json
import sys
from contextlib import nullcontext, redirect_stdout
from typing import Annotated

import typer

from relay_cli.asking import Yes, make_sure
from relay_cli.commands.status import status
from relay_cli.errors import CommandFailed
from relay_cli.output import Json
from relay_core.console.output import note
from relay_core.data_dir import own_data_dir
from relay_stack.bring_up import UpOptions, bring_up
from relay_stack.down import describe, take_down


def up(
    detach: Annotated[
        bool, typer.Option("--detach", "-d", help="Return when the stack is up; it stays in the background.")
    ] = False,
    yes: Annotated[
        bool, typer.Option("--yes", "-y", help="Install packages and start services without asking.")
    ] = False,
    sample: Annotated[
        bool | None,
        typer.Option(
            "--sample/--no-sample", help="Run the sample job; without the option it runs at the first start only."
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Start database, queue, API, worker and Flower on this machine. Ctrl-C stops them.

    Example: relay up --detach
    """
    if as_json and not detach:
        raise CommandFailed("--json needs --detach: without it `relay up` stays until Ctrl-C", 2)
    with redirect_stdout(sys.stderr) if as_json else nullcontext():
        code = bring_up(UpOptions(detach=detach, yes=yes, sample=sample))
    if as_json:
        status(as_json=True)
    raise typer.Exit(code)


def down(
    everything: Annotated[
        bool,
        typer.Option(
            "--all", help="Also remove the containers of workspaces, and stop the Docker engine if Relay started it."
        ),
    ] = False,
    yes: Yes = False,
    as_json: Json = False,
) -> None:
    """Stop the stack. Its data stays.

    `--all` asks before it removes anything.

    Example: relay down
    """
    if everything:
        make_sure("stop the stack and remove the containers of all its workspaces (their files stay)", yes=yes)
    ended = take_down(own_data_dir(), everything=everything)
    if as_json:
        print(json.dumps(vars(ended), indent=2))
        return
    for line in describe(ended):
        note(line)
