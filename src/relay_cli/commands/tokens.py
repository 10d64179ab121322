"""`relay token create | list | revoke` and `relay nodes`: for the operator."""

from typing import Annotated, Any
from uuid import UUID

import typer

from relay_cli import output
from relay_cli.client import connect
from relay_cli.output import Json
from relay_core.console.output import note
from relay_core.domain.nodes.room import Capacity, told
from relay_core.store.tokens import create_token
from relay_stack.files.local_settings import settings_of_this_machine

tokens = typer.Typer(help="Bearer tokens of the API.", no_args_is_help=True)


@tokens.command("create")
def create(
    name: Annotated[str, typer.Argument(help="What it is for.")],
    owner: Annotated[str, typer.Option(help="Whose runs it sees.")],
    scope: Annotated[list[str], typer.Option(help="runs:read, runs:write or admin; may be given again.")] = [
        "runs:write"
    ],
    database: Annotated[
        bool, typer.Option("--database", help="Straight into RELAY_DATABASE_URL: the first token of a server.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Make a token; its text is shown this once.

    Example: relay token create ci --owner team-a

    Example: relay token create operator --owner operator --scope admin --database
    """
    if database:
        text = create_token(settings_of_this_machine().database_url, owner, scope, name)
        output.show({"name": name, "owner": owner, "scopes": scope, "token": text}, as_json=as_json)
        return
    made = connect().call("POST", "/v1/tokens", json={"name": name, "owner": owner, "scopes": scope})
    output.show(made, as_json=as_json)


@tokens.command("list")
def list_tokens(as_json: Json = False) -> None:
    """List tokens, without their text."""
    columns = ("id", "name", "owner", "scopes", "created_at", "expires_at", "revoked_at")
    output.show_list(connect().items("/v1/tokens"), columns, as_json=as_json)


@tokens.command("revoke")
def revoke(token: Annotated[UUID, typer.Argument(help="Id of the token.")], as_json: Json = False) -> None:
    """Refuse a token from now on."""
    connect().call("DELETE", f"/v1/tokens/{token}")
    if as_json:
        output.show({"id": str(token), "revoked": True}, as_json=True)
    else:
        note("revoked")


def nodes(as_json: Json = False) -> None:
    """List the nodes that run jobs: what each says of itself, and what its silence tells."""
    columns = (
        "node_id pool liveness reported_health draining epoch promised age_seconds last_heartbeat_at client_version"
    )
    rows = [
        {**node, "age_seconds": _whole(node["age_seconds"]), **({} if as_json else {"promised": _promised(node)})}
        for node in connect().items("/v1/nodes")
    ]
    output.show_list(rows, columns.split(), as_json=as_json)


def _promised(node: dict[str, Any]) -> str:
    capacity = Capacity(node["max_workspaces"], node["memory_bytes"])
    return told(node["promised"]["workspaces"], node["promised"]["memory_bytes"], capacity)


def _whole(seconds: float | None) -> int | None:
    return None if seconds is None else round(seconds)


def drain(
    node: Annotated[str, typer.Argument(help="Id of a node, as `relay nodes` shows it.")],
    undo: Annotated[bool, typer.Option("--undo", help="Let it take new workspaces again.")] = False,
    as_json: Json = False,
) -> None:
    """Let a node take no new workspaces; what it has goes on.

    Example: relay drain node-0123456789ab
    """
    answer = connect().call("POST", f"/v1/nodes/{node}/{'undrain' if undo else 'drain'}")
    if as_json:
        output.show(answer, as_json=True)
    else:
        note(f"{node} takes {'' if undo else 'no '}new workspaces")
