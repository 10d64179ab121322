"""`relay limits list | set | remove`: limits on concurrent runs."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated, Any
from urllib.parse import quote
from uuid import UUID

import typer

from relay_cli import output
from relay_cli.client import connect
from relay_cli.output import Json
from relay_core.console.output import note
from relay_core.console.terminal_text import safe_line

EACH = "*"
"""Name of the limit for each project, owner or pool that has none of its own."""

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
    items = connect().all_items("/v1/limits")
    shown = items if as_json else [{**item, "name": _shown(item)} for item in items]
    output.show_list(shown, ("kind", "name", "max_runs"), as_json=as_json)


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
        of_each = f"each {kind} without a limit of its own"
        which = of_each if name == EACH else f"the {kind} {safe_line(_shown(answer))}"
        note(f"at most {max_runs} runs of {which} are at work at once")


@limits.command("remove")
def remove_limit(kind: KindWord, name: Name) -> None:
    """Remove a limit.

    Example: relay limits remove owner '*'
    """
    connect().call("DELETE", _path(kind, name))
    of_each = f"there is no limit for each {kind} any more"
    note(of_each if name == EACH else f"the {kind} {safe_line(name)} has no limit of its own any more")


def _path(kind: Kind, name: str) -> str:
    if kind is Kind.PROJECT and name != EACH and not _is_id(name):  # the id of a deleted project is found as it is
        name = str(connect().call("GET", f"/v1/projects/{quote(name, safe='')}")["id"])
    return f"/v1/limits/{kind}/{quote(name, safe='')}"


def _is_id(text: str) -> bool:
    try:
        UUID(text)
    except ValueError:
        return False
    return True


def _shown(limit: Mapping[str, Any]) -> str:
    """Return the name of a limit for people: that of the project, not its id."""
    return str(limit.get("project_name") or limit["name"])
