"""`relay token create | list | revoke`: bearer tokens of the API."""

from collections.abc import Mapping
from typing import Annotated, Any

import typer

from relay_cli import completion, output
from relay_cli.client import connect
from relay_cli.commands.ids import id_argument
from relay_cli.output import Json
from relay_core.console.output import note
from relay_core.quick_start import load

tokens = typer.Typer(help="Bearer tokens for the API.", no_args_is_help=True)


@tokens.command("create")
def create(
    name: Annotated[str, typer.Argument(help="Name of the token, for people.")],
    owner: Annotated[str, typer.Option(help="Owner; the token sees the runs of this owner.")],
    scope: Annotated[
        list[str],
        typer.Option(
            help="Right of the token: runs:read, runs:write or admin. Repeat the option for more.",
            autocompletion=completion.scopes,
        ),
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
        settings = load("relay_stack.files.local_settings:settings_of_this_machine")()
        text = load("relay_core.store.tokens:create_token")(settings.database_url, owner, scope, name)
        created = {"name": name, "owner": owner, "scopes": scope, "token": text}
    else:
        created = connect().call("POST", "/v1/tokens", json={"name": name, "owner": owner, "scopes": scope})
    output.show(created if as_json else _with_words(created), as_json=as_json)
    note("the text of the token is shown only this once: keep it in a safe place")


def _with_words(token: Mapping[str, Any]) -> dict[str, Any]:
    return {**token, "scopes": ", ".join(token["scopes"])}


@tokens.command("list")
def list_tokens(as_json: Json = False) -> None:
    """List the tokens, without their text."""
    columns = ("id", "name", "owner", "scopes", "created_at", "expires_at", "revoked_at")
    found = connect().all_items("/v1/tokens")
    output.show_list(found if as_json else map(_with_words, found), columns, as_json=as_json)


@tokens.command("revoke")
def revoke(
    token: Annotated[str, id_argument("Id of the token; see `relay token list`.", completion.tokens)],
    as_json: Json = False,
) -> None:
    """Revoke a token: the API refuses it from now on."""
    connect().call("DELETE", f"/v1/tokens/{token}")
    if as_json:
        output.show({"id": str(token), "revoked": True}, as_json=True)
    else:
        note(f"revoked token {token}")
