"""`relay follow-up | sessions`: going on with an agent's conversation."""

import sys
from typing import Annotated, Any
from uuid import UUID

import httpx
import typer

from relay_cli import output
from relay_cli.client import Api, away, check, connect
from relay_cli.errors import CommandFailed
from relay_cli.follow import exit_code, show_step
from relay_cli.output import Json
from relay_core.console.output import log_writers


def follow_up(
    target: Annotated[UUID, typer.Argument(help="Id of a session, of an execution in it, or of a workspace.")],
    prompt: Annotated[str, typer.Argument(help="What to say; - reads it from standard input.")],
    wait: Annotated[bool, typer.Option("--wait/--detach", help="Follow it and exit with its code.")] = True,
    as_json: Json = False,
) -> None:
    """Go on with an agent's conversation, in the same container and directory.

    Example: relay follow-up 0b8f8f4e-… "now add a test"
    """
    api = connect()
    text = sys.stdin.read() if prompt == "-" else prompt
    session = find_session(api, target)
    made = api.call("POST", f"/v1/sessions/{session}/follow-ups", json={"prompt": text})
    if wait:
        ended = show_step(api, made, log_writers(), {})
        if as_json:
            output.show(ended, as_json=True)
        raise typer.Exit(exit_code(ended))
    output.show(made, as_json=as_json)


def sessions(
    workspace: Annotated[UUID, typer.Argument(help="Id of a workspace.", show_default=False)], as_json: Json = False
) -> None:
    """List the sessions of a workspace: its agent conversations.

    Example: relay sessions 0b8f8f4e-…
    """
    items = connect().call("GET", f"/v1/workspaces/{workspace}/sessions")["items"]
    rows = [{**one, "summary": _last_words(one["turns"])} for one in items]
    columns = ("id", "executor", "agent_session_id", "created_at", "summary")
    output.show_list(items if as_json else rows, columns, as_json=as_json)


def _last_words(turns: list[dict[str, Any]]) -> str | None:
    said = (turns[-1]["summary"] or "").splitlines() if turns else []
    return said[0][:80] if said else None


def find_session(api: Api, target: UUID) -> str:
    """The session that an id means: its own, that of an execution, or the last of a workspace.

    Raises:
        CommandFailed: it is nothing's id.
    """
    if found := _look(api, f"/v1/sessions/{target}"):
        return str(found["id"])
    if found := _look(api, f"/v1/executions/{target}"):
        return str(found["session_id"])
    if (found := _look(api, f"/v1/workspaces/{target}/sessions")) and found["items"]:
        return str(found["items"][-1]["id"])
    raise CommandFailed(f"{target} is no session, execution or workspace; see `relay ps`", 2)


def _look(api: Api, path: str) -> dict[str, Any] | None:
    try:
        answer = api.http.get(path)
    except httpx.TransportError as error:
        raise away(api.url, error) from error
    if answer.status_code == 404:
        return None
    check(answer)
    found: dict[str, Any] = answer.json()
    return found
