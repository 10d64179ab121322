"""`relay watch | wait | cancel | rerun`: what a person does with a run that is there already."""

import time
from typing import Annotated, Any

import typer

from relay_cli import completion, exit_codes, output
from relay_cli.client import Api, connect
from relay_cli.commands.ids import AnyId, parse_id
from relay_cli.follow import QUEUED_BACKOFF, get_run, view_of_terminal
from relay_cli.output import Json
from relay_cli.rendering.names import short, state_word
from relay_cli.rendering.run_page import summary
from relay_cli.watching import conclude, go_on, watch_to_end


def watch(run: AnyId, as_json: Json = False) -> None:
    """Show a run from its beginning until it ends, as `relay run` does, and exit with its exit code.

    Example: relay watch 3f2a91bc
    """
    view = view_of_terminal(as_json=as_json)
    conclude(watch_to_end(connect(), run, view), view, as_json=as_json)


def wait(
    runs: Annotated[
        list[str],
        typer.Argument(
            parser=parse_id,
            metavar="ID...",
            help="Ids of runs.",
            show_default=False,
            autocompletion=completion.runs,
        ),
    ],
    as_json: Json = False,
) -> None:
    """Wait until runs have ended, without showing their logs; print how each ended.

    The exit code is that of the first run, in the order of the ids, that did not succeed.

    Example: relay wait 3f2a91bc 5e70b1c2
    """
    api = connect()
    ended = [_ended(api, run) for run in runs]
    if as_json:
        output.show_list(ended, (), as_json=True)
    else:
        for run in ended:
            print(f"{short(run['id'])}  {state_word(run)}")
    codes = [exit_codes.of_run(run) for run in ended]
    raise typer.Exit(next((code for code in codes if code), exit_codes.SUCCESS))


def cancel(run: AnyId, as_json: Json = False) -> None:
    """Cancel a run: kill its running step, and start none of those that would follow. Its workspace stays.

    A run that has ended already is not changed.

    Example: relay cancel 3f2a91bc
    """
    found = connect().call("POST", f"/v1/runs/{run}/cancel")
    if as_json:
        output.show(found, as_json=True)
    elif found["status"] == "completed":
        output.say(f"run {short(found['id'])} has ended: {state_word(found)}")
    else:
        output.say(f"run {short(found['id'])} is asked to end; wait for it with: relay wait {short(found['id'])}")


def rerun(
    run: AnyId,
    failed: Annotated[
        bool, typer.Option("--failed", help="Begin with the step that failed, in the same workspace.")
    ] = False,
    wait_for_end: Annotated[
        bool, typer.Option("--wait/--detach", help="Follow the new run to its end, or print its id and return.")
    ] = True,
    as_json: Json = False,
) -> None:
    """Run a job again, as a new run.

    Example: relay rerun 3f2a91bc
    """
    api = connect()
    new = api.call("POST", f"/v1/runs/{run}/rerun", json={"from": "failed_step" if failed else "start"})
    go_on(api, new["id"], wait=wait_for_end, as_json=as_json)


def _ended(api: Api, run_id: str) -> dict[str, Any]:
    """Return a run once it has ended; print its summary if it did not succeed."""
    pauses = QUEUED_BACKOFF.pauses()
    while (run := get_run(api, run_id))["status"] != "completed":
        time.sleep(next(pauses))
    if run["conclusion"] != "success":
        output.say(summary(run, view_of_terminal().notes))
    return run
