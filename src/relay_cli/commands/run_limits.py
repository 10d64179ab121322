"""`relay limits list | set | remove`: limits on concurrent runs."""

from enum import StrEnum
from typing import Annotated
from urllib.parse import quote

import typer

from relay_cli import output
from relay_cli.client import connect
from relay_cli.output import Json
from relay_core.console.output import note
from relay_core.console.terminal_text import safe_line

limits = typer.Typer(help="Limits on concurrent runs of projects, owners and pools.", no_args_is_help=True)


class Kind(StrEnum):
    """The things that have limits."""

    PROJECT = "project"
    OWNER = "owner"
    POOL = "pool"


KindWord = Annotated[Kind, typer.Argument(help="What the limit applies to: project, owner or pool.")]
Name = Annotated[
    str,
    typer.Argument(
        help="Id or name of a project, an owner, a pool; '*' (in quotes) for each one that has no limit of its own."
    ),
]


@limits.command("list")
def list_limits(as_json: Json = False) -> None:
    """List the limits. Limits of nodes are settings of the nodes: RELAY_NODE_MAX_WORKSPACES."""
    output.show_list(connect().all_items("/v1/limits"), ("kind", "name", "max_runs"), as_json=as_json)


@limits.command("set")
def set_limit(
    kind: KindWord,
    name: Name,
    max_runs: Annotated[int, typer.Argument(min=0, help="Most runs at work at once; 0: none starts any more.")],
    as_json: Json = False,
) -> None:
    """Set how many runs may be at work at once. Runs at work go on.

    Example: relay limits set owner '*' 8
    """
    answer = connect().call("PUT", _path(kind, name), json={"max_runs": max_runs})
    if as_json:
        output.show(answer, as_json=True)
    else:
        note(f"at most {max_runs} runs of the {kind} {safe_line(answer['name'])} are at work at once")


@limits.command("remove")
def remove_limit(kind: KindWord, name: Name) -> None:
    """Remove a limit.

    Example: relay limits remove owner '*'
    """
    connect().call("DELETE", _path(kind, name))
    note(f"the {kind} {safe_line(name)} has no limit of its own any more")


def _path(kind: Kind, name: str) -> str:
    if kind is Kind.PROJECT and name != "*":
        name = str(connect().call("GET", f"/v1/projects/{quote(name, safe='')}")["id"])
    return f"/v1/limits/{kind}/{quote(name, safe='')}"
