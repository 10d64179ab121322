"""`relay follow-up | sessions`: continue an agent's conversation, and list conversations."""

import sys
from typing import Annotated, Any
from uuid import UUID

import typer

from relay_cli import output
from relay_cli.client import Api, connect
from relay_cli.commands.ids import WorkspaceId, id_argument
from relay_cli.errors import CommandFailed
from relay_cli.follow import exit_code, show_step
from relay_cli.output import Json
from relay_core.console.output import log_writers


def follow_up(
    target: Annotated[UUID, id_argument("Id of a session, of an execution in it, or of a workspace.")],
    prompt: Annotated[str, typer.Argument(help="Message to the agent; - reads it from standard input.")],
    wait: Annotated[
        bool, typer.Option("--wait/--detach", help="Follow the agent and exit with its exit code, or return at once.")
    ] = True,
    as_json: Json = False,
) -> None:
    """Send an agent another message.

    The agent continues its conversation, in the same container and directory.

    Example: relay follow-up 0b8f8f4e-… "now add a test"
    """
    api = connect()
    text = sys.stdin.read() if prompt == "-" else prompt
    session = find_session(api, target)
    execution = api.call("POST", f"/v1/sessions/{session}/follow-ups", json={"prompt": text})
    if wait:
        ended = show_step(api, execution, log_writers(), {})
        if as_json:
            output.show(ended, as_json=True)
        raise typer.Exit(exit_code(ended))
    output.show(execution, as_json=as_json)


def sessions(
    workspace: WorkspaceId,
    as_json: Json = False,
) -> None:
    """List the sessions of a workspace; each is one conversation with an agent.

    Example: relay sessions 0b8f8f4e-…
    """
    items = connect().call("GET", f"/v1/workspaces/{workspace}/sessions")["items"]
    rows = [{**session, "summary": _summary(session["turns"])} for session in items]
    columns = ("id", "executor", "agent_session_id", "created_at", "summary")
    output.show_list(items if as_json else rows, columns, as_json=as_json)


def _summary(turns: list[dict[str, Any]]) -> str | None:
    lines = (turns[-1]["summary"] or "").splitlines() if turns else []
    return lines[0][:80] if lines else None


def find_session(api: Api, target: UUID) -> str:
    """Return the id of the session that ``target`` refers to.

    Args:
        api: client of the API.
        target: id of a session, of an execution in it, or of a workspace (then its newest session is returned).

    Raises:
        CommandFailed: no session, execution or workspace has the id.
    """
    if found := api.find(f"/v1/sessions/{target}"):
        return str(found["id"])
    if found := api.find(f"/v1/executions/{target}"):
        return str(found["session_id"])
    if (found := api.find(f"/v1/workspaces/{target}/sessions")) and found["items"]:
        return str(found["items"][-1]["id"])
    raise CommandFailed(f"{target} is no session, execution or workspace; see `relay ps`", 2)
