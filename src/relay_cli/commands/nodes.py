"""`relay nodes`, with `show`, `directories`, `attach`, `detach`, …; `relay drain | undrain | revoke`."""

import sys
from typing import Annotated

import typer

from relay_cli import completion, output
from relay_cli.client import connect
from relay_cli.output import Json
from relay_cli.rendering.node_table import node_lines
from relay_cli.rendering.style import style_of
from relay_core.console.output import note
from relay_core.domain.attachment import PROTOCOL

Node = Annotated[str, typer.Argument(help="Id of a node; see `relay nodes`.", autocompletion=completion.nodes)]


nodes = typer.Typer(invoke_without_command=True, help="List the nodes that run jobs, with their health.")


@nodes.callback()
def list_nodes(context: typer.Context, as_json: Json = False) -> None:
    """List the nodes that run jobs, with their health.

    SLOTS are the Celery tasks that its workers carry out, WORKSPACES and MEMORY what it has promised, SEEN is the age
    of its last heartbeat.
    """
    if context.invoked_subcommand is not None:
        return
    found = connect().all_items("/v1/nodes")
    if as_json:
        output.show_list(found, (), as_json=True)
    else:
        print("\n".join(node_lines(found, style_of(sys.stdout))))


@nodes.command("show")
def show(node: Node, as_json: Json = False) -> None:
    """Show one node: whether it takes part in a pool, whether it lives, and what it declares.

    Example: relay nodes show node-0123456789ab
    """
    found = connect().call("GET", f"/v1/nodes/{node}")
    keys = ("node_id", "pool", "state", "read_only", "liveness", "self_report", "reported_health", "declares", "closed")
    output.show(found if as_json else {key: found[key] for key in keys}, as_json=as_json)


@nodes.command("directories")
def list_directories(
    limit: Annotated[int, typer.Option(help="Number of rows at most.", min=1, max=1000)] = 50, as_json: Json = False
) -> None:
    """List directories of nodes that look like those of workspaces, and that no step uses.

    Example: relay nodes directories
    """
    found = list(connect().items("/v1/directories", limit))
    output.show_list(found, ("id", "node_id", "path", "workspace_id", "finding"), as_json=as_json)


@nodes.command("adopt")
def adopt(
    directory: Annotated[str, typer.Argument(metavar="ID", help="Id of a directory; see `relay nodes directories`.")],
    project: Annotated[str, typer.Option(help="Project of its task: name or id.", autocompletion=completion.projects)],
    title: Annotated[str, typer.Option(help="Title of its task.")] = "Adopted workspace",
    as_json: Json = False,
) -> None:
    """Make a directory that no workspace claims a workspace again; nothing runs on it without that.

    Example: relay nodes adopt 6e5d4c3b-2a19-4807-9f6e-5d4c3b2a1908 --project shop
    """
    body = {"project_id": project, "title": title}
    made = connect().call("POST", f"/v1/directories/{directory}/adopt", json=body)
    if as_json:
        output.show(made, as_json=True)
    else:
        note(f"workspace {made['id']} is there again, stopped: relay workspace resume {made['id']}")


@nodes.command("attach")
def attach(
    node: Node,
    pool: Annotated[str, typer.Option(help="The pool.")] = "default",
    protocol: Annotated[
        str, typer.Option(help="Version MAJOR.MINOR of the protocol that its workers speak.")
    ] = PROTOCOL,
    declares: Annotated[list[str] | None, typer.Option(help="A capability that it declares; may be repeated.")] = None,
    as_json: Json = False,
) -> None:
    """Let a node take part in a pool, from its next heartbeat on. Workers do this for their node when they start.

    Example: relay nodes attach node-0123456789ab
    """
    body = {"pool": pool, "protocol_version": protocol, "capabilities": {"declares": declares or []}}
    answer = connect().call("POST", f"/v1/nodes/{node}/attach", json=body)
    if as_json:
        output.show(answer, as_json=True)
        return
    reads = ", and read-only: its protocol version is below the floor of the pool" if answer["read_only"] else ""
    note(f"{node} is attached to the pool {answer['pool']}, {answer['state']}{reads}")


@nodes.command("detach")
def detach(
    node: Node, reason: Annotated[str | None, typer.Option(help="For people; its event has it.")] = None
) -> None:
    """Let a node take no part in its pool: it starts nothing, and what it runs goes on.

    A worker that starts there attaches the node again. To keep a node out, drain or revoke it.

    Example: relay nodes detach node-0123456789ab --reason "moves to another pool"
    """
    connect().call("POST", f"/v1/nodes/{node}/detach", json={"reason": reason})
    note(f"{node} is detached: it starts nothing")


@nodes.command("credential")
def credential(node: Node, as_json: Json = False) -> None:
    """Make a token with which a node may attach, beat, declare and detach. Revoking the node revokes it.

    Example: relay nodes credential node-0123456789ab
    """
    answer = connect().call("POST", f"/v1/nodes/{node}/credentials")
    if as_json:
        output.show(answer, as_json=True)
        return
    print(answer["token"])
    note("store this token now: it is shown only this once")


@nodes.command("floor")
def floor(
    pool: Annotated[str | None, typer.Argument(help="The pool; without it: list the floors of all.")] = None,
    version: Annotated[str | None, typer.Argument(help="Lowest protocol version MAJOR.MINOR of its nodes.")] = None,
    remove: Annotated[bool, typer.Option("--remove", help="Let nodes of any version work.")] = False,
    as_json: Json = False,
) -> None:
    """List the floors of pools, or raise the one of a pool: nodes below it keep what they run, and start nothing.

    Example: relay nodes floor default 1.1
    """
    api = connect()
    if pool is not None and (version is not None or remove):
        answer = api.call("PUT", f"/v1/pools/{pool}", json={"min_protocol_version": None if remove else version})
        output.show(answer, as_json=as_json)
        return
    found = [one for one in api.all_items("/v1/pools") if pool in {None, one["pool"]}]
    output.show_list(found, ("pool", "min_protocol_version"), as_json=as_json)


def drain(
    node: Node,
    undo: Annotated[bool, typer.Option("--undo", help="Let the node take new workspaces again.")] = False,
    as_json: Json = False,
) -> None:
    """Stop a node from taking new workspaces. The workspaces that it has already continue.

    Example: relay drain node-0123456789ab
    """
    _request(node, "undrain" if undo else "drain", as_json=as_json)


def undrain(node: Node, as_json: Json = False) -> None:
    """Let a node take new workspaces again.

    Example: relay undrain node-0123456789ab
    """
    _request(node, "undrain", as_json=as_json)


def revoke(
    node: Node,
    undo: Annotated[bool, typer.Option("--undo", help="Let the node take work again, new workspaces too.")] = False,
    as_json: Json = False,
) -> None:
    """Stop a node from starting anything, also in its own workspaces. Steps that run there go on.

    Example: relay revoke node-0123456789ab
    """
    _request(node, "restore" if undo else "revoke", as_json=as_json)


_SAID = {
    "drain": "takes no new workspaces",
    "undrain": "takes new workspaces",
    "revoke": "is revoked: it starts no step any more",
    "restore": "takes work again",
}
"""The message for each request that was carried out."""


def _request(node: str, verb: str, *, as_json: bool) -> None:
    answer = connect().call("POST", f"/v1/nodes/{node}/{verb}")
    if as_json:
        output.show(answer, as_json=True)
    else:
        note(f"{node} {_SAID[verb]}")
