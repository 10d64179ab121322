"""`relay workspace list | show | stop | resume | push | … | rm | restore | prune`: containers and files of runs."""

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Annotated, Any

import typer

from relay_cli import completion, output
from relay_cli.asking import Yes, make_sure
from relay_cli.changes import Clear, patch
from relay_cli.client import Api, connect
from relay_cli.commands import changed_files, expiry, git_acts, git_states, quarantine, workspaces
from relay_cli.commands.ids import WorkspaceId, id_argument
from relay_cli.errors import CommandFailed
from relay_cli.listing import print_table
from relay_cli.output import Json
from relay_cli.rendering.names import repo_names, short
from relay_cli.rendering.units import age, byte_count, duration, local_time, plural, seconds_between
from relay_core.console.output import note
from relay_core.console.terminal_text import safe_line
from relay_core.domain.quantities import quantity

workspace = typer.Typer(
    no_args_is_help=True, help="Workspaces: the branch, clones and container in which the steps of a run work."
)
COLUMNS = ("ID", "TITLE", "REPO", "STATUS", "TASK", "NODE", "AGE")
QUIET_TASKS = frozenset({"inreview", "done", "cancelled"})
"""States of tasks that have no step to run."""

State = Annotated[
    str | None,
    typer.Option(
        help="Only those in this state: starting, running, stopped or failed.",
        autocompletion=completion.workspace_states,
    ),
]
Project = Annotated[
    str | None,
    typer.Option(help="Only those of this project: its name or id.", autocompletion=completion.projects),
]
workspace.command("stop")(workspaces.stop)
workspace.command("resume")(workspaces.resume)
workspace.command("push")(git_acts.push)
workspace.command("reset")(git_acts.reset)
workspace.command("rebase")(git_acts.rebase)
workspace.command("git-state")(git_states.git_state)
workspace.command("acknowledge")(git_states.acknowledge)
workspace.command("go-back")(git_states.go_back)
workspace.command("quarantine")(quarantine.quarantine)
workspace.command("restore")(quarantine.restore)
workspace.command("purge")(quarantine.purge)
workspace.command("files")(changed_files.files)
workspace.command("expiry")(expiry.show_expiry)
workspace.command("kept")(expiry.kept)


@workspace.command("list")
def list_workspaces(
    state: State = None,
    project: Project = None,
    archived: Annotated[
        bool | None, typer.Option("--archived/--not-archived", help="Only archived ones, or only the others.")
    ] = None,
    limit: Annotated[int, typer.Option(help="Number of rows at most.", min=1, max=1000)] = 50,
    as_json: Json = False,
) -> None:
    """List workspaces, newest first.

    Example: relay workspace list --state running
    """
    wanted = None if archived is None else str(archived).lower()
    found = list(connect().items("/v1/workspaces", limit, state=state, project_id=project, archived=wanted))
    if as_json:
        output.show_list(found, (), as_json=True)
        return
    now = datetime.now(UTC)
    rows = [_cells(each, now) for each in found]
    print_table(COLUMNS, rows, [each["state"] for each in found])


def _cells(found: Mapping[str, Any], now: datetime) -> list[str]:
    pending = f" → {found['requested_state']}" if found["requested_state"] else ""
    return [
        short(found["id"]),
        safe_line(found["task"]["title"]),
        repo_names(found),
        f"{found['state']}{pending}{' (idle)' if found['stop_reason'] == 'idle' else ''}",
        found["task"]["status"],
        safe_line(found["node_id"] or "-"),
        age(seconds_between(found["created_at"], None, now)),
    ]


@workspace.command("create")
def create_workspace(
    project: Annotated[
        str, typer.Argument(metavar="PROJECT", help="Name or id of a project.", autocompletion=completion.projects)
    ],
    title: Annotated[str | None, typer.Option(help="Title of its task.", show_default=False)] = None,
    image: Annotated[
        str | None, typer.Option(help="Image of its container.", autocompletion=completion.images, show_default=False)
    ] = None,
    as_json: Json = False,
) -> None:
    """Make a workspace on a project: clone its repositories and run its setup scripts. No agent runs.

    Example: relay workspace create shop
    """
    body = {"project_id": project, "title": title, "image": image}
    made = connect().call("POST", "/v1/workspaces", json={key: value for key, value in body.items() if value})
    if as_json:
        output.show(made, as_json=True)
    else:
        identity, branch = short(made["id"]), safe_line(made["branch"])
        note(f"made workspace {identity} on branch {branch}: relay step add {identity} …")


@workspace.command("show")
def show_workspace(workspace_id: WorkspaceId, as_json: Json = False) -> None:
    """Show a workspace: its branch, repositories, container, node and limits.

    Example: relay workspace show 3f2a91bc
    """
    found = connect().call("GET", f"/v1/workspaces/{workspace_id}")
    output.show(found if as_json else _fields(found), as_json=as_json)


def _fields(found: Mapping[str, Any]) -> dict[str, Any]:
    server = found["dev_server"] or {}
    return {
        "workspace": found["id"],
        "title": found["task"]["title"],
        "task": f"{short(found['task_id'])} is {found['task']['status']}",
        "state": found["state"] + (f", soon {found['requested_state']}" if found["requested_state"] else ""),
        "stopped": {"idle": "because it was idle; the next step starts it", "client": "by a client"}.get(
            found["stop_reason"] or ""
        ),
        "archived": "yes" if found["archived"] else None,
        "why": found["error_reason"],
        "branch": found["branch"],
        "git state": found["git_state"],
        "repositories": "\n".join(_repository(repo) for repo in found["repos"]),
        "image": found["image"],
        "node": found["node_id"] or f"none yet, pool {found['pool']}",
        "dev server": server.get("url") or server.get("status"),
        "limits": ", ".join(limit_text(name, value) for name, value in found["limits"].items() if value is not None),
        "created": f"{local_time(found['created_at'])} by {found['created_by']}",
    }


def _repository(repo: Mapping[str, Any]) -> str:
    start = repo.get("ref") or repo["target_branch"]
    base = f" at {repo['base_commit'][:12]}" if repo["base_commit"] else ""
    return f"{repo['name']} from {repo['url']}" + (f", {start}{base}" if start else base)


def limit_text(name: str, value: Any) -> str:
    """Return a limit with its unit: `memory 4 GiB`, `timeout 10m00s`, `pids 512`."""
    short_name = name.removesuffix("_bytes").removesuffix("_seconds").replace("_", "-")
    if name.endswith("_bytes"):
        return f"{short_name} {byte_count(value)}"
    if name == "no_output_seconds" and not value:
        return f"{short_name} off"
    return f"{short_name} {duration(value)}" if name.endswith("_seconds") else f"{short_name} {value}"


@workspace.command("rm")
def remove(
    ids: Annotated[list[str], id_argument("Ids of workspaces; see `relay workspace list`.")],
    yes: Yes = False,
    as_json: Json = False,
) -> None:
    """Delete workspaces: end what runs in them, remove their containers, and put their files out of sight.

    For a while they can be restored (`relay workspace restore`). Runs, logs, diffs and events stay readable by their
    ids.

    Example: relay workspace rm 3f2a91bc
    """
    api = connect()
    found = [api.call("GET", f"/v1/workspaces/{each}") for each in ids]
    make_sure(f"delete {_named(found)}, with containers and files", yes=yes)
    _delete(api, found, as_json=as_json)


@workspace.command("set")
def set_workspace(  # one parameter for each option
    workspace_id: WorkspaceId,
    name: Annotated[str | None, typer.Option(help="Another name.", show_default=False)] = None,
    working_dir: Annotated[
        str | None,
        typer.Option(help="Directory of new agents: NAME of a repository, NAME/directory, or `.`.", show_default=False),
    ] = None,
    pin: Annotated[
        bool | None, typer.Option("--pin/--unpin", help="Keep it from being removed by itself.", show_default=False)
    ] = None,
    clear: Clear = None,
    as_json: Json = False,
) -> None:
    """Change a workspace: its name, the directory of its agents, or whether it is pinned.

    Example: relay workspace set 3f2a91bc --name 'second try' --pin
    """
    body = patch({"name": name, "agent_working_dir": working_dir, "pinned": pin}, clear, ("name", "agent_working_dir"))
    changed = connect().call("PATCH", f"/v1/workspaces/{workspace_id}", json=body)
    output.show(changed if as_json else _fields(changed), as_json=as_json)


@workspace.command("archive")
def archive(
    workspace_id: WorkspaceId,
    undo: Annotated[bool, typer.Option("--undo", help="Take it out of the archive.")] = False,
    as_json: Json = False,
) -> None:
    """Archive a workspace: end its dev servers, run its archive scripts, and let nothing else start in it.

    Example: relay workspace archive 3f2a91bc
    """
    changed = connect().call("PATCH", f"/v1/workspaces/{workspace_id}", json={"archived": not undo})
    if as_json:
        output.show(changed, as_json=True)
    else:
        note(f"workspace {short(changed['id'])} is {'archived' if changed['archived'] else 'not archived'}")


@workspace.command("prune")
def prune(
    older_than: Annotated[
        str, typer.Option(metavar="AGE", help="Only those created longer ago than this: 12h, 7d.")
    ] = "7d",
    project: Project = None,
    yes: Yes = False,
    as_json: Json = False,
) -> None:
    """Delete the workspaces in which nothing runs or waits, except pinned ones.

    A workspace is kept while its task is to do or in progress, or while it has a dev server.

    Example: relay workspace prune --older-than 3d --yes
    """
    try:
        least = quantity("age_seconds", older_than)
    except ValueError as error:
        raise CommandFailed(f"--older-than: {error}", 2) from error
    api = connect()
    found = prunable(api.items("/v1/workspaces", project_id=project), least, datetime.now(UTC))
    if not found and not as_json:
        note("there is no workspace to delete")
        return
    if found:
        make_sure(f"delete {_named(found)}, with containers and files", yes=yes)
    _delete(api, found, as_json=as_json)


def prunable(found: Iterable[Mapping[str, Any]], least_seconds: float, now: datetime) -> list[Mapping[str, Any]]:
    """Return the workspaces that are old enough and have nothing that runs or waits.

    Args:
        found: workspaces as the API returns them.
        least_seconds: age from which on a workspace is returned.
        now: the present time.
    """
    return [
        each
        for each in found
        if each["task"]["status"] in QUIET_TASKS
        and not each["pinned"]
        and each["dev_server"] is None
        and seconds_between(each["created_at"], None, now) >= least_seconds
    ]


def _named(found: list[Mapping[str, Any]]) -> str:
    if len(found) == 1:
        return f"workspace {short(found[0]['id'])} ({safe_line(found[0]['task']['title'])})"
    return plural(len(found), "workspace")


def _delete(api: Api, found: list[Mapping[str, Any]], *, as_json: bool) -> None:
    deleted = [api.call("DELETE", f"/v1/workspaces/{each['id']}") for each in found]
    if as_json:
        output.show_list(deleted, (), as_json=True)
        return
    for each in deleted:
        ended = f"; {plural(each['killed'], 'execution')} asked to end" if each["killed"] else ""
        note(f"deleted workspace {short(each['id'])}{ended}")
