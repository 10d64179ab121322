"""`relay secret set | list | delete`: secrets of projects. A value is never a word of a command line."""

import sys
from pathlib import Path
from typing import Annotated, Any
from uuid import UUID

import typer

from relay_cli import output
from relay_cli.client import Api, connect
from relay_cli.commands.runs import remote
from relay_cli.errors import CommandFailed
from relay_cli.output import Json
from relay_core.console.output import note
from relay_core.domain.git.branch_name import repo_name_from_url

secret = typer.Typer(help="Secrets of a project, given to its runs by name.", no_args_is_help=True)

Name = Annotated[str, typer.Argument(help="Letters, digits and _, as of an environment variable.", show_default=False)]
Project = Annotated[str | None, typer.Option(help="Id or name of the project.")]
Repo = Annotated[str | None, typer.Option(help="Or: URL or path of a repository whose runs name no project.")]


@secret.command("set")
def set_secret(
    name: Name,
    project: Project = None,
    repo: Repo = None,
    value_file: Annotated[Path | None, typer.Option(help="File with the value; else standard input.")] = None,
    as_json: Json = False,
) -> None:
    """Store a secret, or another value for it: from a file, from standard input, or asked for without showing it.

    The newline at the end of a single line is left out.

    Example: relay secret set ANTHROPIC_API_KEY --repo . < key.txt

    Example: relay secret set DEPLOY_KEY --project shop --value-file id_ed25519
    """
    value = one_line(_given_value(name, value_file))
    api = connect()
    project_id = find_project(api, project, repo, make=True)
    api.call("PUT", f"/v1/projects/{project_id}/secrets/{name}", json={"value": value})
    _done(name, project_id, "stored", as_json=as_json)


@secret.command("list")
def list_secrets(project: Project = None, repo: Repo = None, as_json: Json = False) -> None:
    """List the names of a project's secrets; their values are shown to nobody."""
    api = connect()
    project_id = find_project(api, project, repo)
    items = api.call("GET", f"/v1/projects/{project_id}/secrets")["items"]
    output.show_list(items, ("name", "created_by", "created_at", "updated_at"), as_json=as_json)


@secret.command("delete")
def delete_secret(name: Name, project: Project = None, repo: Repo = None, as_json: Json = False) -> None:
    """Delete a secret; executions that need it fail from now on."""
    api = connect()
    project_id = find_project(api, project, repo)
    api.call("DELETE", f"/v1/projects/{project_id}/secrets/{name}")
    _done(name, project_id, "deleted", as_json=as_json)


def find_project(api: Api, project: str | None, repo: str | None, *, make: bool = False) -> str:
    """The id of a project by id, by name, or by the repository of runs that name none.

    Args:
        api: the client.
        project: id or name.
        repo: URL or path.
        make: a repository without a project gets one.

    Raises:
        CommandFailed: not exactly one of the two is given, or not exactly one project is found.
    """
    if (project is None) == (repo is None):
        raise CommandFailed("name the project: --project ID (or its name), or --repo URL of runs that name none", 2)
    if repo is not None:
        url = remote(repo)
        found: list[dict[str, Any]] = list(api.items("/v1/projects", default_for=url))
        if not found and make:
            found = [api.call("POST", "/v1/projects", json={"name": repo_name_from_url(url), "default_for": url})]
        return _only(found, f"for runs of {url}")
    try:
        return str(UUID(project))
    except ValueError:
        return _only([one for one in api.items("/v1/projects") if one["name"] == project], f"named {project!r}")


def _only(found: list[dict[str, Any]], what: str) -> str:
    if not found:
        raise CommandFailed(f"there is no project {what}", 2)
    if len(found) > 1:
        ids = ", ".join(one["id"] for one in found)
        raise CommandFailed(f"there are several projects {what}; name one by its id: {ids}", 2)
    return str(found[0]["id"])


def one_line(value: str) -> str:
    """Without the newline that editors and `echo` put behind a single line; a text of several lines as it is."""
    return value[:-1].removesuffix("\r") if value.endswith("\n") and value.count("\n") == 1 else value


def _given_value(name: str, file: Path | None) -> str:
    try:
        if file is not None:
            return file.read_bytes().decode()
        if not sys.stdin.isatty():
            return sys.stdin.buffer.read().decode()
    except (OSError, UnicodeDecodeError) as error:
        raise CommandFailed(f"the value of {name} cannot be read: {error}", 2) from None
    return str(typer.prompt(f"Value of {name}", hide_input=True, err=True))


def _done(name: str, project_id: str, what: str, *, as_json: bool) -> None:
    if as_json:
        output.show({"name": name, "project_id": project_id, what: True}, as_json=True)
    else:
        note(f"{what} {name} of project {project_id}")
