"""`relay token create | list | revoke` and `relay nodes`: for the operator."""

from typing import Annotated
from uuid import UUID

import typer

from relay_cli import output
from relay_cli.client import connect
from relay_cli.commands.runs import Json
from relay_cli.output import note

tokens = typer.Typer(help="Bearer tokens of the API.", no_args_is_help=True)


@tokens.command("create")
def create(
    name: Annotated[str, typer.Argument(help="What it is for.")],
    owner: Annotated[str, typer.Option(help="Whose runs it sees.")],
    scope: Annotated[list[str], typer.Option(help="runs:read, runs:write or admin; may be given again.")] = [
        "runs:write"
    ],
    as_json: Json = False,
) -> None:
    """Make a token; its text is shown this once.

    Example: relay token create ci --owner team-a
    """
    made = connect().call("POST", "/v1/tokens", json={"name": name, "owner": owner, "scopes": scope})
    output.show(made, as_json=as_json)


@tokens.command("list")
def list_tokens(as_json: Json = False) -> None:
    """List tokens, without their text."""
    columns = ("id", "name", "owner", "scopes", "created_at", "expires_at", "revoked_at")
    output.show_list(connect().items("/v1/tokens"), columns, as_json=as_json)


@tokens.command("revoke")
def revoke(token: Annotated[UUID, typer.Argument(help="Id of the token.")]) -> None:
    """Refuse a token from now on."""
    connect().call("DELETE", f"/v1/tokens/{token}")
    note("revoked")


def nodes(as_json: Json = False) -> None:
    """List the nodes that run jobs."""
    columns = ("node_id", "pool", "liveness", "last_heartbeat_at", "client_version")
    output.show_list(connect().items("/v1/nodes"), columns, as_json=as_json)
