"""`relay mirrors list | purge`: the git mirrors of the nodes."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated, Any

import typer

from relay_cli import completion, output
from relay_cli.asking import Yes, make_sure
from relay_cli.client import connect
from relay_cli.errors import CommandFailed
from relay_cli.listing import print_table
from relay_cli.output import Json
from relay_cli.rendering.names import short
from relay_cli.rendering.units import age, plural, seconds_between
from relay_core.console.output import note
from relay_core.console.terminal_text import safe_line

mirrors = typer.Typer(no_args_is_help=True, help="Git mirrors: what the nodes have of the remotes of your projects.")
COLUMNS = ("ID", "NODE", "PROJECT", "REMOTE", "STATE", "FETCHED", "USED BY", "NOTE")
Project = Annotated[
    str | None, typer.Option(help="Only mirrors of this project, by name or id.", autocompletion=completion.projects)
]
Node = Annotated[
    str | None, typer.Option(help="Only mirrors of this node; see `relay nodes`.", autocompletion=completion.nodes)
]
_WAITS = {
    "node": "is removed by its node within seconds",
    "clone": "is removed once the clone of its project has ended",
    "offline": "is removed once its node is back: the node is offline",
    "workspaces": "is removed once no workspace uses it",
}


@mirrors.command("list")
def list_mirrors(
    project: Project = None,
    node: Node = None,
    limit: Annotated[int, typer.Option(help="Number of rows at most.", min=1, max=1000)] = 50,
    as_json: Json = False,
) -> None:
    """List mirrors, newest first: the outcome of the last fetch, and the number of workspaces whose clones use them.

    Example: relay mirrors list --project shop
    """
    found = list(connect().items("/v1/mirrors", limit, project_id=project, node_id=node))
    if as_json:
        output.show_list(found, (), as_json=True)
        return
    now = datetime.now(UTC)
    print_table(COLUMNS, [_cells(each, now) for each in found])


def _cells(found: Mapping[str, Any], now: datetime) -> list[str]:
    waits = found["purge_waits_for"]
    return [
        short(found["id"]),
        safe_line(found["node_id"]),
        safe_line(found["project"]),
        safe_line(found["remote"]),
        found["state"],
        age(seconds_between(found["fetched_at"], None, now)) if found["fetched_at"] else "never",
        plural(found["workspaces"], "workspace"),
        _WAITS[waits] if waits else safe_line(found["error"] or ""),
    ]


@mirrors.command("purge")
def purge(
    mirror: Annotated[
        list[str] | None, typer.Argument(help="Ids of mirrors; see `relay mirrors list`.", show_default=False)
    ] = None,
    project: Project = None,
    node: Node = None,
    yes: Yes = False,
    as_json: Json = False,
) -> None:
    """Remove mirrors from the disks of their nodes: those named, or the unused ones of a project or a node.

    The next clone of such a remote fetches everything again. A mirror that clones of workspaces use stays.

    Example: relay mirrors purge 3f2a9c

    Example: relay mirrors purge --node node-0123456789ab
    """
    if bool(mirror) == bool(project or node):
        message = "name mirrors, or a project or node with --project and --node: one of both"
        raise CommandFailed(message, exit_code=2)
    api = connect()
    ids = mirror or [
        each["id"] for each in api.items("/v1/mirrors", project_id=project, node_id=node) if not each["workspaces"]
    ]
    make_sure(f"remove {plural(len(ids), 'mirror')}", yes=yes)
    purged = [api.call("DELETE", f"/v1/mirrors/{each}") for each in ids]
    if as_json:
        output.show_list(purged, (), as_json=True)
        return
    for each in purged:
        note(f"mirror {short(each['id'])} of {safe_line(each['remote'])} {_WAITS[each['purge_waits_for']]}")
    if not purged:
        note("there is no unused mirror")
