"""Watch a run until it ends, with a question on Ctrl-C, and close with its summary."""

import signal
import sys
from collections.abc import Iterable
from typing import Any, NoReturn

import typer

from relay_cli import exit_codes, output
from relay_cli.client import Api
from relay_cli.follow import View, follow_run, get_run, view_of_terminal
from relay_cli.rendering.names import short
from relay_cli.rendering.run_page import header, summary

QUESTION = "\nThe run goes on. [k]ill it, [d]etach, or [c]ontinue watching?"


def watch_to_end(api: Api, run_id: str, view: View, shown: Iterable[str] = ()) -> dict[str, Any]:
    """Print the header of a run and follow it to its end; return the run.

    On Ctrl-C, ask the person whether to kill the run, detach from it or continue.

    Args:
        api: client of the API.
        run_id: id of the run.
        view: where the run is shown.
        shown: ids of executions that are not shown.

    Raises:
        typer.Exit: the person chose to detach: the command exits and the run continues.
        WatchLost: the API stayed unavailable for too long.
    """
    run = get_run(api, run_id)
    output.say(header(run, api.url))
    already = list(shown)
    while True:
        try:
            return follow_run(api, run["id"], view, already)
        except KeyboardInterrupt:
            view.end_lines()
            _ask_after_interrupt(api, run["id"])


def conclude(run: dict[str, Any], view: View, *, as_json: bool) -> NoReturn:
    """Print the closing summary of a run, and with ``as_json`` the run; exit with the run's exit code.

    Raises:
        typer.Exit: always.
    """
    output.say(summary(run, view.notes))
    if as_json:
        output.show(run, as_json=True)
    raise typer.Exit(exit_codes.of_run(run))


def go_on(api: Api, run_id: str, *, wait: bool, as_json: bool, shown: Iterable[str] = ()) -> None:
    """Follow a new run to its end and exit with its exit code; or print its id and how to see it.

    Args:
        api: client of the API.
        run_id: id of the run.
        wait: whether to follow it.
        as_json: whether to print the run as JSON.
        shown: ids of executions that are not shown.
    """
    if wait:
        view = view_of_terminal(as_json=as_json)
        conclude(watch_to_end(api, run_id, view, shown), view, as_json=as_json)
    new = api.call("GET", f"/v1/runs/{run_id}")
    output.say(header(new, api.url), watch_hint(new["id"]))
    if as_json:
        output.show(new, as_json=True)
    else:
        print(new["id"])


def watch_hint(run_id: str) -> str:
    """Return how to see a run that goes on without this command."""
    identity = short(run_id)
    return f"see it with: relay watch {identity}; its log alone: relay logs -f {identity}"


def _ask_after_interrupt(api: Api, run_id: str) -> None:
    """Ask the person what to do with the run, and cancel it if they say so. Return if the command must keep following.

    The command also follows a cancelled run to its end. Without a terminal, the command detaches.

    Raises:
        typer.Exit: the command detaches: with 0 if the person said so, with 130 if there is no terminal to ask at.
    """
    answer = "d"
    if sys.stdin.isatty():
        try:
            answer = typer.prompt(QUESTION, default="d", err=True)
        except (KeyboardInterrupt, typer.Abort):
            typer.echo(err=True)  # ends the line of the question
    if answer.startswith("c"):
        return
    if answer.startswith("k"):
        api.call("POST", f"/v1/runs/{run_id}/cancel")
        return
    output.say(f"detached, the run goes on; {watch_hint(run_id)}")
    raise typer.Exit(exit_codes.SUCCESS if sys.stdin.isatty() else 128 + signal.SIGINT)
