"""`relay delegation list | show | scope | allow | create | release`: write leases of subtasks."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any
from urllib.parse import quote

import typer

from relay_cli import completion, output
from relay_cli.client import connect
from relay_cli.commands.ids import id_argument
from relay_cli.listing import print_table
from relay_cli.output import Json
from relay_cli.rendering.names import short
from relay_core.console.output import note
from relay_core.console.terminal_text import safe_line

delegation = typer.Typer(
    help="Delegations: what the workspace of a subtask may write, and its parent may not.", no_args_is_help=True
)
COLUMNS = ("ID", "NAME", "STATE", "PARENT", "CHILD", "RULES")
Workspace = Annotated[str, id_argument("Id of a workspace, or its beginning.", completion.workspaces)]
Id = Annotated[str, typer.Argument(metavar="ID", help="Id of a delegation.", show_default=False)]
PATH_HELP = "Path, or REPO:PATH; `REPO:` or `.` is the whole branch."
Paths = Annotated[list[str], typer.Argument(metavar="PATH...", help=PATH_HELP, show_default=False)]
MaybePaths = Annotated[list[str] | None, typer.Argument(metavar="[PATH]...", help=PATH_HELP, show_default=False)]


@delegation.command("list")
def list_delegations(
    workspace: Annotated[str | None, typer.Option(help="Only those of this workspace.")] = None,
    limit: Annotated[int, typer.Option(help="Number of rows at most.", min=1, max=1000)] = 50,
    as_json: Json = False,
) -> None:
    """List delegations, newest first, also those that have ended."""
    path = "/v1/delegations" if workspace is None else f"/v1/workspaces/{quote(workspace, safe='')}/delegations"
    found = list(connect().items(path, limit))
    if as_json:
        output.show_list(found, (), as_json=True)
        return
    print_table(COLUMNS, [_cells(each) for each in found])


@delegation.command("show")
def show_delegation(identity: Id, as_json: Json = False) -> None:
    """Show a delegation.

    Example: relay delegation show 6a0f4c5e-93a3-4b21-8c7d-2f3e4d5c6b7a
    """
    output.show(_shown(connect().call("GET", _path(identity)), as_json=as_json), as_json=as_json)


@delegation.command("scope")
def show_scope(workspace: Workspace, as_json: Json = False) -> None:
    """Show what a workspace may write, and what it may lease.

    Example: relay delegation scope fe8a69c8
    """
    _show_scope(connect().call("GET", f"/v1/workspaces/{workspace}/scope"), as_json=as_json)


@delegation.command("allow")
def allow(
    workspace: Workspace,
    paths: MaybePaths = None,
    deny: Annotated[
        list[str] | None, typer.Option(metavar="PATH", help="What the workspace itself may not write; may be repeated.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Set what a workspace may lease to subtasks; without PATH it may lease nothing more.

    Example: relay delegation allow fe8a69c8 .

    Example: relay delegation allow fe8a69c8 src docs --deny src/generated
    """
    body = {
        "delegable": [_rule(path) for path in paths] if paths else None,
        "denied": [_rule(one) for one in deny or ()],
    }
    _show_scope(connect().call("PUT", f"/v1/workspaces/{workspace}/scope", json=body), as_json=as_json)


@delegation.command("create")
def create_delegation(
    parent: Annotated[str, id_argument("The workspace that leases.", completion.workspaces)],
    child: Annotated[str, id_argument("The workspace of the subtask.", completion.workspaces)],
    paths: Paths,
    name: Annotated[str, typer.Option(help="Name for people.")] = "subtask",
    read: Annotated[bool, typer.Option("--read", help="Only to read, which conflicts with nothing.")] = False,
    as_json: Json = False,
) -> None:
    """Lease paths, or the whole branch, of a workspace to the workspace of a subtask.

    Example: relay delegation create fe8a69c8 2d03d844 src/parser --name parser
    """
    rules = [{**_rule(path), "permission": "read" if read else "write"} for path in paths]
    body = {"parent_workspace_id": parent, "child_workspace_id": child, "name": name, "rules": rules}
    made = connect().call("POST", "/v1/delegations", json=body)
    if as_json:
        output.show(made, as_json=True)
    else:
        note(f"reserved delegation {made['id']}; the workspace adopts it at its next step")


@delegation.command("release")
def release_delegation(identity: Id, as_json: Json = False) -> None:
    """End a delegation: the parent may write there again.

    Example: relay delegation release 6a0f4c5e-93a3-4b21-8c7d-2f3e4d5c6b7a
    """
    ended = connect().call("POST", f"{_path(identity)}/release", json={})
    if as_json:
        output.show(ended, as_json=True)
    else:
        note(f"delegation {ended['id']} is {ended['state']}")


def _rule(text: str) -> dict[str, Any]:
    repo, colon, path = text.partition(":")
    return {"repo": repo, "path": path} if colon else {"path": "" if text == "." else text}


def _show_scope(found: Mapping[str, Any], *, as_json: bool) -> None:
    if as_json:
        output.show(found, as_json=True)
        return
    held, delegable = found["held"], found["delegable"]
    shown = {
        "may write": "everything" if held is None else _rules(held),
        "but not": _rules(found["excluded"]),
        "may lease": "nothing" if delegable is None else _rules(delegable),
    }
    output.show(shown, as_json=False)


def _shown(found: Mapping[str, Any], *, as_json: bool) -> Mapping[str, Any]:
    return found if as_json else {**found, "name": safe_line(found["name"]), "rules": _rules(found["rules"])}


def _cells(found: Mapping[str, Any]) -> list[str]:
    state = "expired" if found["expired"] else found["reclaim_reason"] or found["state"]
    doubt = "?" if found["unverified"] else ""
    return [
        found["id"],
        safe_line(found["name"]),
        f"{state}{doubt}",
        short(found["parent_workspace_id"]),
        short(found["child_workspace_id"]),
        _rules(found["rules"]),
    ]


def _rules(rules: Sequence[Mapping[str, Any]]) -> str:
    each = (
        f"{rule['repo']}:{rule['path'] or '.'}{' (read)' if rule['permission'] == 'read' else ''}" for rule in rules
    )
    return safe_line(", ".join(each)) or "-"


def _path(identity: str) -> str:
    return f"/v1/delegations/{quote(identity, safe='')}"
