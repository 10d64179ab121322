"""`relay merge create | preview | list | show | refresh`: work of workspaces that gets into target branches."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

import typer

from relay_cli import completion, output
from relay_cli.client import connect
from relay_cli.commands.ids import WorkspaceId
from relay_cli.listing import print_table
from relay_cli.output import Json
from relay_cli.rendering.names import short
from relay_cli.rendering.units import age, local_time, seconds_between
from relay_cli.watching import go_on
from relay_core.console.output import note
from relay_core.console.terminal_text import safe_line

merge = typer.Typer(no_args_is_help=True, help="Merges: work of workspaces that gets into the target branch.")
COLUMNS = ("ID", "WORKSPACE", "REPO", "INTO", "HOW", "STATUS", "COMMIT", "AGE")
Repo = Annotated[str | None, typer.Option(help="Only this repository, by its folder's name in the workspace.")]
Target = Annotated[
    str | None, typer.Option(help="Branch of the remote; without it the target branch of the workspace.")
]
Method = Annotated[
    Literal["squash", "merge"],
    typer.Option(help="squash: one commit with all changes; merge: a commit with two parents."),
]
Message = Annotated[
    str | None, typer.Option(help="Message of the commit; without it the task's title and description.")
]


@merge.command("create")
def create(
    workspace: WorkspaceId,
    repo: Repo = None,
    target: Target = None,
    method: Method = "squash",
    message: Message = None,
    pull_request: Annotated[
        bool, typer.Option("--pr", help="Open a pull request instead, with the token in the project's secret.")
    ] = False,
    token_secret: Annotated[
        str | None,
        typer.Option(help="With --pr: name of that secret; without it GITHUB_TOKEN or GITLAB_TOKEN."),
    ] = None,
    generation: Annotated[
        str | None, typer.Option(help="Of `relay merge preview`: merge only if nothing has changed since.")
    ] = None,
    wait: Annotated[bool, typer.Option("--wait/--detach", help="Follow it to its end (default), or return.")] = True,
    as_json: Json = False,
) -> None:
    """Merge the commits of a workspace into its target branch and push that, or open a pull request.

    On a conflict nothing changes, and the text names the files.

    Example: relay merge create 3f2a91bc --method squash

    Example: relay merge create 3f2a91bc --pr
    """
    api = connect()
    body = {**_body(repo, target, method, message), "generation": generation, "token_secret": token_secret}
    body["kind"] = "pr" if pull_request else "direct"
    asked = api.call("POST", f"/v1/workspaces/{workspace}/merge", json=body)
    if wait:
        go_on(api, asked["run_id"], wait=True, as_json=as_json)
    elif as_json:
        output.show(asked, as_json=True)
    else:
        note(f"merge {short(asked['id'])} is {asked['status']}; see it with: relay merge show {short(asked['id'])}")


@merge.command("preview")
def preview(
    workspace: WorkspaceId,
    repo: Repo = None,
    target: Target = None,
    method: Method = "squash",
    message: Message = None,
    as_json: Json = False,
) -> None:
    """Say what a merge would do, and what stands in its way. Nothing changes.

    Example: relay merge preview 3f2a91bc
    """
    body = _body(repo, target, method, message)
    found = connect().call("POST", f"/v1/workspaces/{workspace}/merge/preview", json=body)
    output.show(found if as_json else _preview(found), as_json=as_json)


@merge.command("list")
def list_merges(
    status: Annotated[
        str | None,
        typer.Option(
            help="Only those with this status: pending, open, merged, closed or failed.",
            autocompletion=completion.merge_statuses,
        ),
    ] = None,
    project: Annotated[
        str | None,
        typer.Option(help="Only those of this project: its name or id.", autocompletion=completion.projects),
    ] = None,
    workspace: Annotated[str | None, typer.Option(help="Only those of this workspace.")] = None,
    limit: Annotated[int, typer.Option(help="Number of rows at most.", min=1, max=1000)] = 50,
    as_json: Json = False,
) -> None:
    """List merges, newest first.

    Example: relay merge list --status failed
    """
    found = list(connect().items("/v1/merges", limit, status=status, project_id=project, workspace_id=workspace))
    if as_json:
        output.show_list(found, (), as_json=True)
        return
    now = datetime.now(UTC)
    print_table(COLUMNS, [_cells(each, now) for each in found], [each["status"] for each in found])


@merge.command("show")
def show(
    merge_id: Annotated[str, typer.Argument(help="Id of a merge; see `relay merge list`.", show_default=False)],
    as_json: Json = False,
) -> None:
    """Show a merge: its commits, its status, and the files of a conflict.

    Example: relay merge show 3f2a91bc
    """
    found = connect().call("GET", f"/v1/merges/{merge_id}")
    output.show(found if as_json else _fields(found), as_json=as_json)


@merge.command("refresh")
def refresh(
    merge_id: Annotated[str, typer.Argument(help="Id of a merge; see `relay merge list`.", show_default=False)],
    as_json: Json = False,
) -> None:
    """Let a worker ask the host of a pull request for its status within seconds, also of a closed one.

    Example: relay merge refresh 3f2a91bc
    """
    found = connect().call("POST", f"/v1/merges/{merge_id}/refresh")
    output.show(found if as_json else _fields(found), as_json=as_json)


def _body(repo: str | None, target: str | None, method: str, message: str | None) -> dict[str, Any]:
    return {"repo": repo, "target_branch": target, "method": method, "message": message}


def _cells(found: Mapping[str, Any], now: datetime) -> list[str]:
    return [
        short(found["id"]),
        short(found["workspace_id"]),
        safe_line(found["repo"]),
        safe_line(found["target_branch_name"]),
        found["method"] if found["kind"] == "direct" else found["kind"],
        found["status"],
        (found["merge_commit"] or "")[:10],
        age(seconds_between(found["created_at"], None, now)),
    ]


def _preview(found: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "repo": found["repo"],
        "into": found["target_branch"],
        "commit": found["source_commit"],
        "message": found["message"].strip(),
        "would": "; ".join(found["mutations"]),
        "warnings": "; ".join(found["warnings"]),
        "blockers": "; ".join(each["message"] for each in found["blockers"]),
        "generation": found["generation"],
    }


def _fields(found: Mapping[str, Any]) -> dict[str, Any]:
    pull_request = found["pr_info"] or {}
    return {
        "merge": found["id"],
        "workspace": found["workspace_id"],
        "repo": found["repo"],
        "into": found["target_branch_name"],
        "how": found["method"] if found["kind"] == "direct" else found["kind"],
        "status": found["status"],
        "error": found["error_reason"],
        "conflicts": ", ".join(found["conflicts"] or []),
        "pull request": pull_request.get("url"),
        "source": found["source_commit"],
        "commit": found["merge_commit"],
        "merged": local_time(found["merged_at"]) if found["merged_at"] else None,
        "created": f"{local_time(found['created_at'])} by {found['created_by']}",
    }
