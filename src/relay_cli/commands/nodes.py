"""`relay nodes | drain`: the nodes of the fleet."""

from typing import Annotated, Any

import typer

from relay_cli import completion, output
from relay_cli.client import connect
from relay_cli.output import Json
from relay_core.console.output import note
from relay_core.domain.nodes import Capacity, load_text, slots_text

Node = Annotated[str, typer.Argument(help="Id of a node; see `relay nodes`.", autocompletion=completion.nodes)]


def nodes(as_json: Json = False) -> None:
    """List the nodes that run jobs, with their health.

    A node reports its health itself. The age of its last heartbeat shows whether the node is alive (liveness).
    """
    columns = "node_id pool liveness reported_health draining slots promised age_seconds client_version"
    rows = [
        {**node, "age_seconds": _whole(node["age_seconds"]), **({} if as_json else _for_people(node))}
        for node in connect().all_items("/v1/nodes")
    ]
    output.show_list(rows, columns.split(), as_json=as_json)


def _for_people(node: dict[str, Any]) -> dict[str, str]:
    capacity = Capacity(node["max_workspaces"], node["memory_bytes"])
    promised = load_text(node["promised"]["workspaces"], node["promised"]["memory_bytes"], capacity)
    workers = node.get("workers") or []  # a server of an earlier version says nothing of them
    return {"promised": promised, "slots": slots_text((worker["used"], worker["slots"]) for worker in workers)}


def _whole(seconds: float | None) -> int | None:
    return None if seconds is None else round(seconds)


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


def _request(node: str, verb: str, *, as_json: bool) -> None:
    answer = connect().call("POST", f"/v1/nodes/{node}/{verb}")
    if as_json:
        output.show(answer, as_json=True)
    else:
        note(f"{node} takes {'' if verb == 'undrain' else 'no '}new workspaces")
