"""`relay workspace git-state | acknowledge | go-back`: clones that differ from what was recorded, and the way back."""

from collections.abc import Mapping
from typing import Annotated, Any

import typer

from relay_cli import output
from relay_cli.asking import Yes, make_sure
from relay_cli.client import connect
from relay_cli.commands.git_acts import Wait, report
from relay_cli.commands.ids import WorkspaceId
from relay_cli.errors import CommandFailed
from relay_cli.output import Json
from relay_cli.rendering.names import short
from relay_core.console.output import note
from relay_core.console.terminal_text import safe_line

_COLUMNS = ("repo", "state", "recorded", "head", "problem")


def git_state(workspace: WorkspaceId, as_json: Json = False) -> None:
    """Show how the clones of a workspace compare with what its executions left.

    Example: relay workspace git-state 3f2a91bc
    """
    found = connect().call("GET", f"/v1/workspaces/{workspace}/git-state")
    if as_json:
        output.show(found, as_json=True)
        return
    output.show_list([_row(clone) for clone in found["repos"]], _COLUMNS, as_json=False)
    if found["acknowledgement_needed"]:
        note(f"no step starts until this is accepted: relay workspace acknowledge {workspace}")


def acknowledge(workspace: WorkspaceId, yes: Yes = False, as_json: Json = False) -> None:
    """Accept commits in the clones of a workspace that no execution made; steps then go on from them.

    Example: relay workspace acknowledge 3f2a91bc
    """
    api = connect()
    found = api.call("GET", f"/v1/workspaces/{workspace}/git-state")
    if not found["acknowledgement_needed"]:
        raise CommandFailed("every clone of the workspace is as it was recorded; there is nothing to acknowledge")
    waiting = [clone for clone in found["repos"] if clone["found_at"]]
    make_sure(f"accept {', '.join(_found(clone) for clone in waiting)}", yes=yes)
    body = {"generation": found["generation"]}
    accepted = api.call("POST", f"/v1/workspaces/{workspace}/acknowledge", json=body)
    if as_json:
        output.show(accepted, as_json=True)
    else:
        note(f"accepted; the workspace is {accepted['git_state']}")


def go_back(
    workspace: WorkspaceId,
    execution: Annotated[str, typer.Argument(metavar="EXECUTION", help="The first execution to take back.")],
    discard_changes: Annotated[
        bool, typer.Option("--discard-changes", help="Throw uncommitted changes and new files away.")
    ] = False,
    yes: Yes = False,
    wait: Wait = True,
    as_json: Json = False,
) -> None:
    """Return the clones of a workspace to their state before an execution, and drop it and all later ones.

    Example: relay workspace go-back 3f2a91bc 5e70b1c2
    """
    api = connect()
    path = f"/v1/workspaces/{workspace}/resume-at"
    body: dict[str, Any] = {"execution": execution, "discard_changes": discard_changes}
    preview = api.call("POST", f"{path}/preview", json=body)
    if preview["blockers"]:
        raise CommandFailed("; ".join(safe_line(one["message"]) for one in preview["blockers"]))
    for one in preview["warnings"]:
        note(safe_line(one["message"]))
    make_sure(f"go back: {'; '.join(safe_line(one['change']) for one in preview['mutations'])}", yes=yes)
    asked = api.call("POST", path, json={**body, "generation": preview["generation"]})
    report(api, asked, wait=wait, as_json=as_json)


def _row(clone: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "repo": clone["name"],
        "state": clone["git_state"] or "-",
        "recorded": short(clone["recorded_commit"] or "-"),
        "head": short(clone["head_commit"] or "-"),
        "problem": clone["problem"] or "",
    }


def _found(clone: Mapping[str, Any]) -> str:
    name = safe_line(clone["name"])
    return f"{clone['head_commit'][:12]} in {name}" if clone["head_commit"] else f"that {name} is {clone['git_state']}"
