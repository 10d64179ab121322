"""`relay repo list | show | create | set | rm`: git remotes with defaults for runs and workspaces."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated, Any
from urllib.parse import quote

import typer

from relay_cli import completion, output
from relay_cli.asking import Yes, make_sure
from relay_cli.changes import Clear, patch
from relay_cli.client import connect
from relay_cli.commands.run_request import remote
from relay_cli.listing import print_table
from relay_cli.output import Json
from relay_cli.rendering.names import short
from relay_cli.rendering.units import age, local_time, seconds_between
from relay_core.console.output import note
from relay_core.console.terminal_text import safe_line

repo = typer.Typer(no_args_is_help=True, help="Repositories: git remotes, and defaults for runs that use them.")
COLUMNS = ("ID", "NAME", "URL", "BRANCH", "SCRIPTS", "AGE")
SCRIPTS = ("setup_script", "cleanup_script", "archive_script", "dev_server_script")
CLEARABLE = (*SCRIPTS, "display_name", "copy_files", "default_target_branch", "default_working_dir")
Named = Annotated[str, typer.Argument(metavar="REPO", help="Name or id of a repository.", show_default=False)]
DisplayName = Annotated[str | None, typer.Option(help="Name for people.", show_default=False)]
Setup = Annotated[str | None, typer.Option(help="sh script that runs before the agent.", show_default=False)]
Cleanup = Annotated[str | None, typer.Option(help="sh script that runs after a successful agent.", show_default=False)]
Archive = Annotated[
    str | None, typer.Option(help="sh script that runs when a workspace is archived.", show_default=False)
]
DevServer = Annotated[str | None, typer.Option("--serve", help="sh script of the dev server.", show_default=False)]
Parallel = Annotated[
    bool | None,
    typer.Option(
        "--parallel-setup/--no-parallel-setup",
        help="Run setup scripts at once, if every repository that has one says so.",
        show_default=False,
    ),
]
CopyFiles = Annotated[
    str | None, typer.Option(help="Patterns of files that git does not have, one a line.", show_default=False)
]
Branch = Annotated[str | None, typer.Option(help="Branch that work is to be merged into.", show_default=False)]
WorkingDir = Annotated[
    str | None, typer.Option(help="Directory in the repository where scripts and agent run.", show_default=False)
]


@repo.command("list")
def list_repos(
    project: Annotated[
        str | None,
        typer.Option(help="Only those of this project: its name or id.", autocompletion=completion.projects),
    ] = None,
    limit: Annotated[int, typer.Option(help="Number of rows at most.", min=1, max=1000)] = 50,
    as_json: Json = False,
) -> None:
    """List repositories, newest first.

    Example: relay repo list --project shop
    """
    found = list(connect().items("/v1/repos", limit, project_id=project))
    if as_json:
        output.show_list(found, (), as_json=True)
        return
    now = datetime.now(UTC)
    print_table(COLUMNS, [_cells(each, now) for each in found])


def _cells(found: Mapping[str, Any], now: datetime) -> list[str]:
    scripts = [name.removesuffix("_script") for name in SCRIPTS if found[name]]
    return [
        short(found["id"]),
        safe_line(found["display_name"]),
        safe_line(found["url"]),
        safe_line(found["default_target_branch"] or "-"),
        ", ".join(scripts) or "-",
        age(seconds_between(found["created_at"], None, now)),
    ]


@repo.command("show")
def show_repo(name: Named, as_json: Json = False) -> None:
    """Show a repository with its defaults and the projects that have it.

    Example: relay repo show app
    """
    found = connect().call("GET", _path(name))
    output.show(found if as_json else _fields(found), as_json=as_json)


def _fields(found: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "repository": found["id"],
        "name": found["name"],
        "display name": found["display_name"],
        "url": found["url"],
        "branch": found["default_target_branch"],
        "working dir": found["default_working_dir"],
        **{name.replace("_", " "): found[name] for name in SCRIPTS},
        "parallel setup": "yes" if found["parallel_setup_script"] else None,
        "copy files": found["copy_files"],
        "projects": ", ".join(map(short, found["project_ids"])),
        "created": f"{local_time(found['created_at'])} by {found['created_by']}",
    }


@repo.command("create")
def create_repo(  # one parameter for each option
    url: Annotated[str, typer.Argument(metavar="URL", help="URL or path of a repository.", show_default=False)],
    display_name: DisplayName = None,
    setup: Setup = None,
    cleanup: Cleanup = None,
    archive: Archive = None,
    dev_server: DevServer = None,
    parallel_setup: Parallel = None,
    copy_files: CopyFiles = None,
    branch: Branch = None,
    working_dir: WorkingDir = None,
    as_json: Json = False,
) -> None:
    """Store a repository with defaults for the runs that use it. Nothing is cloned.

    Example: relay repo create https://git.example.org/team/app.git --setup 'make deps'
    """
    given = _given(locals())
    made = connect().call("POST", "/v1/repos", json={"url": remote(url), **given})
    if as_json:
        output.show(made, as_json=True)
    else:
        note(f"created repository {safe_line(made['display_name'])} ({short(made['id'])})")


@repo.command("set")
def set_repo(  # one parameter for each option
    name: Named,
    display_name: DisplayName = None,
    setup: Setup = None,
    cleanup: Cleanup = None,
    archive: Archive = None,
    dev_server: DevServer = None,
    parallel_setup: Parallel = None,
    copy_files: CopyFiles = None,
    branch: Branch = None,
    working_dir: WorkingDir = None,
    clear: Clear = None,
    as_json: Json = False,
) -> None:
    """Change the defaults of a repository. Workspaces that exist keep what they were made with.

    Example: relay repo set app --serve 'make serve' --clear cleanup_script
    """
    changed = connect().call("PATCH", _path(name), json=patch(_given(locals()), clear, CLEARABLE))
    output.show(changed if as_json else _fields(changed), as_json=as_json)


@repo.command("rm")
def remove_repo(name: Named, yes: Yes = False, as_json: Json = False) -> None:
    """Forget a repository and its defaults. No project or workspace may have it.

    Example: relay repo rm app
    """
    api = connect()
    found = api.call("GET", _path(name))
    make_sure(f"forget repository {safe_line(found['display_name'])} and its defaults", yes=yes)
    deleted = api.call("DELETE", f"/v1/repos/{found['id']}")
    if as_json:
        output.show(deleted, as_json=True)
    else:
        note(f"forgot repository {safe_line(found['display_name'])}")


def _given(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields that the options of a command set, by name of the field."""
    fields = {
        "display_name": options["display_name"],
        "setup_script": options["setup"],
        "cleanup_script": options["cleanup"],
        "archive_script": options["archive"],
        "dev_server_script": options["dev_server"],
        "parallel_setup_script": options["parallel_setup"],
        "copy_files": options["copy_files"],
        "default_target_branch": options["branch"],
        "default_working_dir": options["working_dir"],
    }
    return {name: value for name, value in fields.items() if value is not None}


def _path(name: str) -> str:
    return f"/v1/repos/{quote(name, safe='')}"
