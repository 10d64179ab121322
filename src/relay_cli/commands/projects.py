"""`relay project list | show | create | set | clone | repo | rm | …`: groups of repositories with a default image."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated, Any
from urllib.parse import quote

import typer

from relay_cli import completion, output
from relay_cli.asking import Yes, make_sure
from relay_cli.changes import Clear, patch
from relay_cli.client import connect
from relay_cli.commands import quarantine, tasks
from relay_cli.commands.project_files import files
from relay_cli.commands.run_request import remote
from relay_cli.errors import CommandFailed
from relay_cli.listing import print_table
from relay_cli.output import Json
from relay_cli.rendering.names import short
from relay_cli.rendering.units import age, local_time, plural, seconds_between
from relay_core.console.output import note
from relay_core.console.terminal_text import safe_line

project = typer.Typer(no_args_is_help=True, help="Projects: repositories that belong together, and their settings.")
project.add_typer(files, name="files")
COLUMNS = ("ID", "NAME", "REPO", "IMAGE", "STATE", "AGE")
IDLE = ("idle_stop_hours", "idle_archive_hours", "idle_delete_hours")
CLEARABLE = ("default_image", "default_agent_working_dir", "remote_project_id", "default_for", *IDLE)
WorkingDir = Annotated[
    str | None,
    typer.Option(help="Directory of agents: NAME of a repository, NAME/directory, or `.`.", show_default=False),
]
RemoteId = Annotated[
    str | None, typer.Option(help="Id of the project elsewhere that this one stands for.", show_default=False)
]
_NEVER = "0: never. Without it: the server's setting."
StopHours = Annotated[
    float | None,
    typer.Option("--idle-stop-hours", help=f"Stop idle workspaces after so many hours. {_NEVER}", show_default=False),
]
ArchiveHours = Annotated[
    float | None,
    typer.Option("--idle-archive-hours", help=f"Archive idle workspaces so long after. {_NEVER}", show_default=False),
]
DeleteHours = Annotated[
    float | None,
    typer.Option("--idle-delete-hours", help=f"Delete archived ones so long after. {_NEVER}", show_default=False),
]
Named = Annotated[
    str,
    typer.Argument(
        metavar="PROJECT",
        help="Name or id of a project.",
        show_default=False,
        autocompletion=completion.projects,
    ),
]

project.command("restore")(quarantine.restore_project)
project.command("purge")(quarantine.purge_project)
project.command("clean-up")(quarantine.clean_up)


@project.command("list")
def list_projects(
    limit: Annotated[int, typer.Option(help="Number of rows at most.", min=1, max=1000)] = 50, as_json: Json = False
) -> None:
    """List projects, newest first.

    Example: relay project list
    """
    found = list(connect().items("/v1/projects", limit))
    if as_json:
        output.show_list(found, (), as_json=True)
        return
    now = datetime.now(UTC)
    rows = [_cells(each, now) for each in found]
    print_table(COLUMNS, rows)


def _cells(found: Mapping[str, Any], now: datetime) -> list[str]:
    return [
        short(found["id"]),
        safe_line(found["name"]),
        safe_line(", ".join(repo["name"] for repo in found["repos"]) or found["default_for"] or "-"),
        safe_line(found["default_image"] or "-"),
        found["state"],
        age(seconds_between(found["created_at"], None, now)),
    ]


@project.command("show")
def show_project(name: Named, as_json: Json = False) -> None:
    """Show a project: its repositories, the state of their mirrors, and its default image.

    Example: relay project show shop
    """
    found = connect().call("GET", _path(name))
    if as_json:
        output.show(found, as_json=True)
        return
    fields = {
        "project": found["id"],
        "name": found["name"],
        "state": found["state"],
        "why": safe_line(found["clone_error"] or ""),
        "first workspace": _first(found["first_workspace"]),
        "image": found["default_image"],
        "agents in": found["default_agent_working_dir"],
        "stands for": found["remote_project_id"],
        "default for": found["default_for"],
        "idle": ", ".join(_hours(name, found[name]) for name in IDLE if found[name] is not None) or None,
        "repositories": "\n".join(_repository(repo) for repo in found["repos"]),
        "created": f"{local_time(found['created_at'])} by {found['created_by']}",
    }
    output.show(fields, as_json=False)


def _first(found: Mapping[str, Any] | None) -> str | None:
    if found is None:
        return None
    if found["state"] == "made":
        return short(found["workspace_id"])
    return "waits for the project" if found["state"] == "waiting" else f"not made: {safe_line(found['error'])}"


def _hours(name: str, hours: float) -> str:
    act = name.split("_")[1]
    return f"{act} after {hours:g} hours" if hours else f"never {act}"


def _repository(repo: Mapping[str, Any]) -> str:
    scripts = [kind for kind in ("setup", "cleanup") if repo[f"{kind}_script"]]
    more = f"; {' and '.join(scripts)} script" if scripts else ""
    trouble = f": {repo['clone_error']}" if repo["clone_error"] else ""
    return f"{repo['name']} from {repo['url']}, {repo['state']}{trouble}{more}"


@project.command("create")
def create_project(
    name: Annotated[str, typer.Argument(help="Name of the project, which no other project of yours has.")],
    repo: Annotated[
        list[str] | None, typer.Option(help="URL or path of a repository. Repeat the option for more of them.")
    ] = None,
    image: Annotated[
        str | None, typer.Option(help="Image of runs that name none.", autocompletion=completion.images)
    ] = None,
    default_for: Annotated[
        str | None,
        typer.Option(metavar="REPO", help="Repository whose runs without a project are to belong to this one."),
    ] = None,
    working_dir: WorkingDir = None,
    remote_id: RemoteId = None,
    first: Annotated[
        str | None,
        typer.Option(
            metavar="TITLE",
            help="Title of a first task; an attempt at it starts when the project is ready.",
            show_default=False,
        ),
    ] = None,
    agent: tasks.Agent = None,
    command: tasks.Command = None,
    prompt: tasks.Prompt = None,
    stop_hours: StopHours = None,
    archive_hours: ArchiveHours = None,
    delete_hours: DeleteHours = None,
    as_json: Json = False,
) -> None:
    """Create a project, and let a node clone its repositories; with --first, start a first attempt then.

    Example: relay project create shop --repo https://git.example.org/shop/web.git
    """
    attempt = tasks.attempt_body(agent, command, None, None, prompt)
    if attempt and first is None:
        raise CommandFailed("these options are of the first attempt; give --first TITLE, too", 2)
    body = {
        "name": name,
        "default_image": image,
        "default_for": remote(default_for) if default_for else None,
        "default_agent_working_dir": working_dir,
        "remote_project_id": remote_id,
        "repos": [{"url": remote(each)} for each in repo or []],
        "first_workspace": {"title": first, **attempt} if first is not None else None,
    }
    idle = dict(zip(IDLE, (stop_hours, archive_hours, delete_hours), strict=True))
    given: dict[str, Any] = {key: value for key, value in body.items() if value}
    given |= {key: hours for key, hours in idle.items() if hours is not None}
    made = connect().call("POST", "/v1/projects", json=given)
    if as_json:
        output.show(made, as_json=True)
    else:
        cloning = "; its repositories are being cloned" if made["state"] == "cloning" else ""
        note(f"created project {safe_line(made['name'])} ({short(made['id'])}){cloning}: relay run --project {name} …")


@project.command("set")
def set_project(  # one parameter for each option
    name: Named,
    rename: Annotated[str | None, typer.Option("--name", help="Another name.", show_default=False)] = None,
    image: Annotated[
        str | None,
        typer.Option(help="Image of runs that name none.", autocompletion=completion.images, show_default=False),
    ] = None,
    default_for: Annotated[
        str | None,
        typer.Option(metavar="REPO", help="Repository whose runs without a project are to belong to this one."),
    ] = None,
    working_dir: WorkingDir = None,
    remote_id: RemoteId = None,
    stop_hours: StopHours = None,
    archive_hours: ArchiveHours = None,
    delete_hours: DeleteHours = None,
    clear: Clear = None,
    as_json: Json = False,
) -> None:
    """Change a project. Workspaces that exist keep what they were made with.

    Example: relay project set shop --image node:22 --clear remote_project_id
    """
    given = {
        "name": rename,
        "default_image": image,
        "default_for": remote(default_for) if default_for else None,
        "default_agent_working_dir": working_dir,
        "remote_project_id": remote_id,
        **dict(zip(IDLE, (stop_hours, archive_hours, delete_hours), strict=True)),
    }
    changed = connect().call("PATCH", _path(name), json=patch(given, clear, CLEARABLE))
    if as_json:
        output.show(changed, as_json=True)
    else:
        note(f"changed project {safe_line(changed['name'])} ({short(changed['id'])})")


@project.command("repo")
def change_repos(
    name: Named,
    add: Annotated[str | None, typer.Option(metavar="REPO", help="URL or path of a repository to add.")] = None,
    remove: Annotated[str | None, typer.Option(metavar="REPO", help="Name or id of a repository to take out.")] = None,
    as_json: Json = False,
) -> None:
    """Add a repository to a project, or take one out. An added one is cloned.

    Example: relay project repo shop --add https://git.example.org/shop/web.git
    """
    if (add is None) == (remove is None):
        raise CommandFailed("give either --add or --remove", 2)
    api, path = connect(), f"{_path(name)}/repos"
    if add is not None:
        changed = api.call("POST", path, json={"url": remote(add)})
    else:
        changed = api.call("DELETE", f"{path}/{quote(str(remove), safe='')}")
    if as_json:
        output.show(changed, as_json=True)
    else:
        names = ", ".join(repo["name"] for repo in changed["repos"])
        note(f"repositories of {safe_line(changed['name'])}: {safe_line(names) or 'none'}")


@project.command("clone")
def clone_project(name: Named, as_json: Json = False) -> None:
    """Clone the repositories of a project again, for example after a clone that failed.

    Example: relay project clone shop
    """
    made = connect().call("POST", f"{_path(name)}/clone")
    if as_json:
        output.show(made, as_json=True)
    else:
        note(f"cloning: relay logs {short(made['id'])}; relay project show {name}")


@project.command("rm")
def remove_project(name: Named, yes: Yes = False, as_json: Json = False) -> None:
    """Delete a project with its workspaces and secrets; end what runs in them. For a while it can be restored.

    Example: relay project rm shop
    """
    api = connect()
    found = api.call("GET", _path(name))
    make_sure(f"delete project {safe_line(found['name'])} with its workspaces and secrets", yes=yes)
    deleted = api.call("DELETE", f"/v1/projects/{found['id']}")
    if as_json:
        output.show(deleted, as_json=True)
    else:
        ended = f"; {plural(deleted['killed'], 'execution')} asked to end" if deleted["killed"] else ""
        note(f"deleted project {safe_line(found['name'])}{ended}")


def _path(name: str) -> str:
    return f"/v1/projects/{quote(name, safe='')}"
