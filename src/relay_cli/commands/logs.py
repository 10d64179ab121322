"""`relay logs`: prints the log or the conversation of a step, or the log of a whole run."""

import sys
from typing import Annotated, Any

import typer

from relay_cli import output
from relay_cli.client import Api, connect
from relay_cli.commands.ids import AnyId
from relay_cli.conversation import ConversationWriter
from relay_cli.follow import follow_run, has_conversation, show_stderr, view_of_terminal
from relay_cli.log_stream import follow_conversation, follow_log
from relay_cli.rendering.names import short, step_name
from relay_cli.rendering.style import style_of
from relay_core.console.output import log_writers, note


def logs(
    identity: AnyId,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Wait for more output until the step ends; of a run, all its steps.")
    ] = False,
    stream: Annotated[
        str | None, typer.Option(help="Print only this stream: stdout, stderr or all (both, in order).")
    ] = None,
    raw: Annotated[
        bool, typer.Option("--raw", help="Print an agent's output as bytes, not as a conversation.")
    ] = False,
    all_steps: Annotated[
        bool,
        typer.Option("--all", "-a", help="Print the logs of all steps of the run, each below a line with its name."),
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print size and sha256 of each stream, for programs.")
    ] = False,
) -> None:
    """Print the log of a step. Of a run, this is its agent, or the step that failed before it.

    The log of a coding agent is shown as a conversation, unless --raw or --stream is given.

    On a terminal, control sequences in the log are dropped; a file or pipe gets the exact bytes.

    Example: relay logs -f 3f2a91bc
    """
    api = connect()
    if all_steps:
        _print_body(api, f"/v1/runs/{identity}/logs", {"follow": "1"} if follow else {})
        return
    if follow and not (raw or stream or as_json) and not _is_step(api, identity):
        follow_run(api, api.call("GET", f"/v1/runs/{identity}")["id"], view_of_terminal())
        return
    found: dict[str, Any] = api.call("GET", f"/v1/executions/{identity}")
    if not found["id"].startswith(identity):
        of_run = f"; all steps of the run: relay logs --all {short(found['run_id'])}" if found["run_id"] else ""
        note(f"{step_name(found)} {short(found['id'])}{of_run}")
    if as_json:
        output.show(found["logs"], as_json=True)
    elif has_conversation(found) and not raw and stream is None:
        _show_conversation(api, found, follow=follow)
    elif follow:
        follow_log(api, found["id"], log_writers(), stream or "all")
    else:
        _print_body(api, f"/v1/executions/{found['id']}/logs", {"stream": stream or "all"})


def _is_step(api: Api, identity: str) -> bool:
    """Return whether an id is that of an execution, and not of something that executions belong to."""
    found = api.find(f"/v1/executions/{identity}")
    return found is not None and bool(found["id"].startswith(identity))


def _show_conversation(api: Api, execution: dict[str, Any], *, follow: bool) -> None:
    view = view_of_terminal()
    conversation = ConversationWriter(view.writers["stdout"], style_of(sys.stdout))
    identity = execution["id"]
    conversation.begin(execution)
    if follow:
        follow_conversation(api, identity, conversation)
        execution = api.call("GET", f"/v1/executions/{identity}")
    else:
        for entry in api.items_by_position(f"/v1/executions/{identity}/conversation"):
            conversation.show(entry)
        conversation.end()
    show_stderr(api, execution, view)
    if execution.get("error_reason"):
        note(f"{step_name(execution)} {execution['status']}: {execution['error_reason']}")


def _print_body(api: Api, path: str, params: dict[str, str]) -> None:
    writer = log_writers()["stdout"]
    for piece in api.body(path, params=params):
        writer.write(piece)
