"""`relay profile list | show`: session profiles, which the operator of the server configures."""

from typing import Annotated
from urllib.parse import quote

import typer

from relay_cli import output
from relay_cli.client import connect
from relay_cli.listing import print_table
from relay_cli.output import Json
from relay_core.console.terminal_text import safe_line

profile = typer.Typer(help="Session profiles: templates that runs name.", no_args_is_help=True)
COLUMNS = ("NAME", "AGENT", "IMAGE", "DESCRIPTION")


@profile.command("list")
def list_profiles(as_json: Json = False) -> None:
    """List the session profiles of the server.

    Example: relay profile list
    """
    found = connect().all_items("/v1/profiles")
    if as_json:
        output.show_list(found, (), as_json=True)
        return
    agents = [(each["executor"] or {}).get("name") for each in found]
    rows = [
        [each["name"], agent or "-", safe_line(each["image"] or "-"), safe_line(each["description"])]
        for each, agent in zip(found, agents, strict=True)
    ]
    print_table(COLUMNS, rows)


@profile.command("show")
def show_profile(
    name: Annotated[str, typer.Argument(help="Name of a profile.", show_default=False)], as_json: Json = False
) -> None:
    """Show what a session profile gives to a run that names it.

    Example: relay profile show review
    """
    output.show(connect().call("GET", f"/v1/profiles/{quote(name, safe='')}"), as_json=as_json)
