"""`relay nodes | drain | undrain | revoke`: the nodes of the fleet."""

import sys
from typing import Annotated

import typer

from relay_cli import completion, output
from relay_cli.client import connect
from relay_cli.output import Json
from relay_cli.rendering.node_table import node_lines
from relay_cli.rendering.style import style_of
from relay_core.console.output import note

Node = Annotated[str, typer.Argument(help="Id of a node; see `relay nodes`.", autocompletion=completion.nodes)]


def nodes(as_json: Json = False) -> None:
    """List the nodes that run jobs, with their health.

    SLOTS are the Celery tasks that its workers carry out, WORKSPACES and MEMORY what it has promised, SEEN is the age
    of its last heartbeat.
    """
    found = connect().all_items("/v1/nodes")
    if as_json:
        output.show_list(found, (), as_json=True)
    else:
        print("\n".join(node_lines(found, style_of(sys.stdout))))


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
