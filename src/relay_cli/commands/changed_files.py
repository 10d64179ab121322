"""`relay workspace files`: the files that a workspace changed, compared with its target branch."""

from typing import Annotated

import typer

from relay_cli import output
from relay_cli.client import connect
from relay_cli.commands.ids import WorkspaceId
from relay_cli.listing import print_table
from relay_cli.output import Json
from relay_core.console.output import note
from relay_core.console.terminal_text import safe_line

COLUMNS = ("REPO", "CHANGE", "+", "-", "FILE")


def files(
    workspace: WorkspaceId,
    repo: Annotated[
        str | None, typer.Option(help="Only this repository, by its folder's name in the workspace.")
    ] = None,
    as_json: Json = False,
) -> None:
    """List the files that a workspace changed, compared with its target branch; uncommitted ones are included.

    This also works when the workspace's container no longer exists.

    Example: relay workspace files 3f2a91bc
    """
    params = {} if repo is None else {"repo": repo}
    found = connect().call("GET", f"/v1/workspaces/{workspace}/diff/files", params=params)
    if as_json:
        output.show(found, as_json=True)
        return
    rows = [
        [
            safe_line(each["name"]),
            file["change"],
            "binary" if file["binary"] else str(file["insertions"]),
            "" if file["binary"] else str(file["deletions"]),
            safe_line(file["path"]),
        ]
        for each in found["items"]
        for file in each["files"]
    ]
    print_table(COLUMNS, rows)
    for each in found["items"]:
        if each["stat"] is None:
            note(f"{safe_line(each['name'])}: no state of it is recorded")
        elif not each["complete"]:
            note(f"{safe_line(each['name'])}: not all of {each['stat']['files']} changed files are listed")
