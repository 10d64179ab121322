"""`relay workspace push | reset | rebase`: the server acts on the commits of a workspace."""

from collections.abc import Mapping
from typing import Annotated, Any

import typer

from relay_cli import output
from relay_cli.client import Api, connect
from relay_cli.commands.ids import WorkspaceId
from relay_cli.errors import CommandFailed
from relay_cli.output import Json
from relay_cli.rendering.names import short
from relay_cli.watching import go_on
from relay_core.console.output import note

Repo = Annotated[str | None, typer.Option(help="Only this repository, by its folder's name in the workspace.")]
Wait = Annotated[bool, typer.Option("--wait/--detach", help="Follow it to its end (default), or return at once.")]


def push(
    workspace: WorkspaceId,
    repo: Repo = None,
    branch: Annotated[
        str | None, typer.Option(help="Branch of the remote; without it the name of the workspace's branch.")
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Replace other commits of the workspace's own branch at the remote.")
    ] = False,
    wait: Wait = True,
    as_json: Json = False,
) -> None:
    """Let the server push a workspace's commits to the remote that it cloned, with the credentials of the node.

    To push with your own git instead: relay push.

    Example: relay workspace push 3f2a91bc
    """
    _ask("push", workspace, {"repo": repo, "branch": branch, "force": force}, wait=wait, as_json=as_json)


def reset(
    workspace: WorkspaceId,
    before: Annotated[
        str | None, typer.Option(metavar="EXECUTION", help="Reset to the commits before this execution.")
    ] = None,
    commit: Annotated[
        str | None, typer.Option(metavar="COMMIT", help="Reset to this commit: its id or the beginning of it.")
    ] = None,
    repo: Repo = None,
    discard_changes: Annotated[
        bool, typer.Option("--discard-changes", help="Throw uncommitted changes and new files away.")
    ] = False,
    wait: Wait = True,
    as_json: Json = False,
) -> None:
    """Reset the clones of a workspace to an earlier state, or to any commit they have.

    Commits that the branch then lacks can be reset to again.

    Example: relay workspace reset 3f2a91bc --before 5e70b1c2
    """
    if (before is None) == (commit is None):
        raise CommandFailed("say what to reset to: either --before EXECUTION or --commit COMMIT", 2)
    body = {"before_execution": before, "commit": commit, "repo": repo, "discard_changes": discard_changes}
    _ask("reset", workspace, body, wait=wait, as_json=as_json)


def rebase(
    workspace: WorkspaceId,
    repo: Repo = None,
    target: Annotated[
        str | None, typer.Option(help="Branch of the remote; without it the target branch of the workspace.")
    ] = None,
    wait: Wait = True,
    as_json: Json = False,
) -> None:
    """Move the commits of a workspace onto the present commit of its target branch.

    On a conflict nothing changes, and the text names the files.

    Example: relay workspace rebase 3f2a91bc
    """
    _ask("rebase", workspace, {"repo": repo, "target_branch": target}, wait=wait, as_json=as_json)


def _ask(verb: str, workspace: str, body: dict[str, Any], *, wait: bool, as_json: bool) -> None:
    api = connect()
    report(api, api.call("POST", f"/v1/workspaces/{workspace}/{verb}", json=body), wait=wait, as_json=as_json)


def report(api: Api, asked: Mapping[str, Any], *, wait: bool, as_json: bool) -> None:
    """Follow a git act to its end, or tell that it is queued.

    Args:
        api: the client.
        asked: the execution, as the API returned it.
        wait: whether to follow it.
        as_json: whether to print JSON.
    """
    if wait:
        go_on(api, asked["run_id"], wait=True, as_json=as_json)
    elif as_json:
        output.show(asked, as_json=True)
    else:
        note(f"execution {asked['id']} is {asked['status']}; follow it with: relay logs -f {short(asked['id'])}")
