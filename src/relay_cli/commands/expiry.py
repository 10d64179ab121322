"""`relay workspace expiry | kept`: what an idle workspace expects, and the work that was kept before its deletion."""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from relay_cli import output
from relay_cli.client import connect
from relay_cli.commands.ids import WorkspaceId
from relay_cli.errors import CommandFailed
from relay_cli.listing import print_table
from relay_cli.output import Json
from relay_cli.rendering.units import byte_count, duration, local_time
from relay_core.console.output import note
from relay_core.console.terminal_text import safe_line

COLUMNS = ("REPO", "COMMIT", "BRANCH", "UNCOMMITTED", "BUNDLE", "KEPT")


def show_expiry(workspace: WorkspaceId, as_json: Json = False) -> None:
    """Show which act of Relay comes next if nothing happens in a workspace: a stop, the archive, the deletion.

    Example: relay workspace expiry 3f2a91bc
    """
    found = connect().call("GET", f"/v1/workspaces/{workspace}/expiry")
    if as_json:
        output.show(found, as_json=True)
        return
    fields = {
        "idle for": duration(found["idle_seconds"]),
        "next": _next(found),
        "not now": "\n".join(safe_line(one["message"]) for one in found["blockers"]) or None,
    }
    output.show(fields, as_json=False)


def _next(found: Mapping[str, Any]) -> str:
    act = found["next"]
    if found["pinned"]:
        return "nothing: it is pinned"
    if act is None:
        return "nothing: neither its project nor the server says so"
    when = f"in {duration(act['in_seconds'])}" if act["in_seconds"] > 0 else "soon"
    return f"{act['act']} {when} ({act['setting']} is {act['hours']:g})"


def kept(
    workspace: WorkspaceId,
    patch: Annotated[bool, typer.Option("--patch", help="Print the changes as a patch.")] = False,
    bundle: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write the git bundle of the work to this file.")
    ] = None,
    repo: Annotated[str | None, typer.Option(help="Of this repository; needed when there are several.")] = None,
    as_json: Json = False,
) -> None:
    """Show the work that was kept of a workspace before Relay deleted it, uncommitted changes included.

    Example: relay workspace kept 3f2a91bc --bundle work.bundle && git fetch work.bundle
    """
    if patch and bundle is not None:
        raise CommandFailed("give either --patch or --bundle", 2)
    api, path = connect(), f"/v1/workspaces/{workspace}/kept"
    if patch:
        for piece in api.body(path, params={"format": "patch"}):
            sys.stdout.buffer.write(piece)
        return
    if bundle is not None:
        content = b"".join(api.body(f"{path}/bundle", params={} if repo is None else {"repo": repo}))
        bundle.write_bytes(content)
        note(f"wrote {byte_count(len(content))} to {bundle}")
        return
    found = api.call("GET", path)
    if as_json:
        output.show(found, as_json=True)
        return
    print_table(COLUMNS, [_cells(one) for one in found["items"]])


def _cells(one: Mapping[str, Any]) -> list[str]:
    return [
        safe_line(one["name"]),
        one["pinned_commit"][:12],
        safe_line(one["branch"] or "-"),
        {True: "yes", False: "no", None: "not known"}[one["dirty"]],
        "-" if one["bundle_bytes"] is None else byte_count(one["bundle_bytes"]),
        local_time(one["kept_at"]),
    ]
