"""`relay follow-up | sessions`: continue an agent's conversation, and list conversations."""

import sys
from typing import Annotated, Any

import typer

from relay_cli import output
from relay_cli.client import Api, connect
from relay_cli.commands.ids import WorkspaceId, id_argument
from relay_cli.commands.pictures import attached
from relay_cli.commands.run_notes import Label, Metadata, Title, notes
from relay_cli.commands.run_options import Attach
from relay_cli.output import Json
from relay_cli.watching import go_on
from relay_core.domain.agents.executors import SHELL


def follow_up(
    target: Annotated[str, id_argument("Id of a run, or of its session, workspace or a step of it.")],
    prompt: Annotated[
        str,
        typer.Argument(
            metavar="PROMPT",
            help="Message to the agent; - reads it from standard input. With the executor shell: a command line.",
        ),
    ],
    wait: Annotated[
        bool, typer.Option("--wait/--detach", help="Follow the agent and exit with its exit code, or return at once.")
    ] = True,
    attach: Attach = None,
    title: Title = None,
    label: Label = None,
    metadata: Metadata = None,
    as_json: Json = False,
) -> None:
    """Send an agent another message.

    The agent continues its conversation, in the same container and directory. An executor that cannot continue (shell)
    runs a further step in the workspace.

    Example: relay follow-up 3f2a91bc "now add a test"
    """
    api = connect()
    text = sys.stdin.read() if prompt == "-" else prompt
    for each in attached(api, attach).get("image_ids", []):
        api.call("PUT", f"/v1/tasks/{target}/images/{each}")
    execution = _next_turn(api, find_session(api, target), text, notes(title, label, metadata))
    go_on(api, execution["run_id"], wait=wait, as_json=as_json)


def _next_turn(api: Api, session: dict[str, Any], text: str, noted: dict[str, Any]) -> dict[str, Any]:
    """Queue the next turn of a session, or a step of its executor if that cannot continue a conversation."""
    if session["can_resume"]:
        body = {"prompt": text, **noted}
        queued: dict[str, Any] = api.call("POST", f"/v1/sessions/{session['id']}/follow-ups", json=body)
        return queued
    step: dict[str, Any] = {"run_reason": "coding_agent", "prompt": text, **noted}
    if session["executor"] == SHELL.name:
        step["executor"] = {"name": SHELL.name, "command": text}
    added: dict[str, Any] = api.call("POST", f"/v1/workspaces/{session['workspace_id']}/executions", json=step)
    return added


def sessions(
    workspace: WorkspaceId,
    as_json: Json = False,
) -> None:
    """List the sessions of a workspace; each is one conversation with an agent.

    Example: relay sessions 3f2a91bc
    """
    items = connect().call("GET", f"/v1/workspaces/{workspace}/sessions")["items"]
    rows = [{**session, "summary": _summary(session["turns"])} for session in items]
    columns = ("id", "executor", "agent_session_id", "created_at", "summary")
    output.show_list(items if as_json else rows, columns, as_json=as_json)


def _summary(turns: list[dict[str, Any]]) -> str | None:
    lines = (turns[-1]["summary"] or "").splitlines() if turns else []
    return lines[0][:80] if lines else None


def find_session(api: Api, target: str) -> dict[str, Any]:
    """Return the session that ``target`` refers to.

    Args:
        api: client of the API.
        target: id, or its beginning, of a session or of anything that belongs to one.

    Raises:
        CommandFailed: no session belongs to the id.
    """
    found: dict[str, Any] = api.call("GET", f"/v1/sessions/{target}")
    return found
