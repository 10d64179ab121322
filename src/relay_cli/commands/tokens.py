"""`relay token create | list | revoke`, `relay nodes`, `relay drain`: commands for the operator."""

from typing import Annotated, Any
from uuid import UUID

import typer

from relay_cli import output
from relay_cli.client import connect
from relay_cli.commands.ids import id_argument
from relay_cli.output import Json
from relay_core.console.output import note
from relay_core.domain.nodes import Capacity, load_text
from relay_core.store.tokens import create_token
from relay_stack.files.local_settings import settings_of_this_machine

tokens = typer.Typer(help="Bearer tokens for the API.", no_args_is_help=True)


@tokens.command("create")
def create(
    name: Annotated[str, typer.Argument(help="Name of the token, for people.")],
    owner: Annotated[str, typer.Option(help="Owner; the token sees the runs of this owner.")],
    scope: Annotated[
        list[str], typer.Option(help="Right of the token: runs:read, runs:write or admin. Repeat the option for more.")
    ] = ["runs:write"],
    database: Annotated[
        bool,
        typer.Option(
            "--database", help="Write into RELAY_DATABASE_URL, not through the API: for the first token of a server."
        ),
    ] = False,
    as_json: Json = False,
) -> None:
    """Create a token. Its text is shown only this once.

    Example: relay token create ci --owner team-a

    Example: relay token create operator --owner operator --scope admin --database
    """
    if database:
        text = create_token(settings_of_this_machine().database_url, owner, scope, name)
        output.show({"name": name, "owner": owner, "scopes": scope, "token": text}, as_json=as_json)
        return
    created = connect().call("POST", "/v1/tokens", json={"name": name, "owner": owner, "scopes": scope})
    output.show(created, as_json=as_json)


@tokens.command("list")
def list_tokens(as_json: Json = False) -> None:
    """List the tokens, without their text."""
    columns = ("id", "name", "owner", "scopes", "created_at", "expires_at", "revoked_at")
    output.show_list(connect().items("/v1/tokens"), columns, as_json=as_json)


@tokens.command("revoke")
def revoke(
    token: Annotated[UUID, id_argument("Id of the token; see `relay token list`.")], as_json: Json = False
) -> None:
    """Revoke a token: the API refuses it from now on."""
    connect().call("DELETE", f"/v1/tokens/{token}")
    if as_json:
        output.show({"id": str(token), "revoked": True}, as_json=True)
    else:
        note(f"revoked token {token}")


def nodes(as_json: Json = False) -> None:
    """List the nodes that run jobs, with their health.

    A node reports its health itself. The age of its last heartbeat shows whether the node is alive (liveness).
    """
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
    return load_text(node["promised"]["workspaces"], node["promised"]["memory_bytes"], capacity)


def _whole(seconds: float | None) -> int | None:
    return None if seconds is None else round(seconds)


def drain(
    node: Annotated[str, typer.Argument(help="Id of a node; see `relay nodes`.")],
    undo: Annotated[bool, typer.Option("--undo", help="Let the node take new workspaces again.")] = False,
    as_json: Json = False,
) -> None:
    """Stop a node from taking new workspaces. The workspaces that it has already continue.

    Example: relay drain node-0123456789ab
    """
    answer = connect().call("POST", f"/v1/nodes/{node}/{'undrain' if undo else 'drain'}")
    if as_json:
        output.show(answer, as_json=True)
    else:
        note(f"{node} takes {'' if undo else 'no '}new workspaces")
