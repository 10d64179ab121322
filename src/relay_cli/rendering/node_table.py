"""The table of `relay nodes`."""

from collections.abc import Iterable, Mapping
from typing import Any

from relay_cli.rendering.run_table import table
from relay_cli.rendering.style import Style
from relay_cli.rendering.units import age
from relay_core.console.terminal_text import safe_line
from relay_core.domain.nodes import GIB, slots_text

COLUMNS = ("NODE", "POOL", "STATUS", "SLOTS", "WORKSPACES", "MEMORY", "SEEN")


def node_lines(nodes: Iterable[Mapping[str, Any]], style: Style) -> list[str]:
    """Return the lines of a table of nodes, and below it why some take no new workspace.

    Args:
        nodes: nodes as the API returns them.
        style: colours and width.
    """
    found = list(nodes)
    lines = table(COLUMNS, [_cells(node) for node in found], ["" for _ in found], style)
    closed = [f"{node['node_id']} takes no new workspace: {node['closed']}" for node in found if node.get("closed")]
    return lines + [style.paint(safe_line(line), "yellow") for line in closed]


def state_of(node: Mapping[str, Any]) -> str:
    """Return the state of a node in one word.

    That it is revoked, detached or read-only comes first, then its liveness if it is silent, the state of its
    attachment, whether it drains, and its health.
    """
    if node.get("revoked_at"):  # a server of an earlier version does not say it
        return "revoked"
    if node.get("state") == "offline":
        return "detached"
    if node.get("read_only"):
        return "read-only"
    if node["liveness"] != "online":
        return str(node["liveness"])
    if node.get("state") in {"registering", "degraded"}:
        return str(node["state"])
    return "draining" if node["draining"] else str(node["reported_health"])


def _cells(node: Mapping[str, Any]) -> list[str]:
    promised, most, memory = node["promised"], node["max_workspaces"], node["memory_bytes"]
    seen = node["age_seconds"]
    workers = node.get("workers") or []  # a server of an earlier version says nothing of them
    return [
        safe_line(node["node_id"]),
        safe_line(node["pool"]),
        safe_line(state_of(node)),
        slots_text((worker["used"], worker["slots"]) for worker in workers),
        f"{promised['workspaces']}{'' if most is None else f'/{most}'}",
        f"{promised['memory_bytes'] / GIB:.1f}{'' if memory is None else f'/{memory / GIB:.1f}'} GiB",
        "never" if seen is None else f"{age(seen)} ago",
    ]
