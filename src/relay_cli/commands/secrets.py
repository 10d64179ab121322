"""`relay secret set | list | delete`: secrets of projects.

A value is never given as an argument, because the machine's list of processes shows arguments.
"""

import hashlib
import sys
from pathlib import Path
from typing import Annotated, Any
from uuid import UUID

import typer

from relay_cli import completion, output
from relay_cli.client import Api, connect
from relay_cli.commands.run_request import remote
from relay_cli.errors import CommandFailed
from relay_cli.output import Json
from relay_core.console.output import note
from relay_core.domain.git.branch_name import repo_name_from_url

secret = typer.Typer(help="Secrets of a project. Its runs get them by name.", no_args_is_help=True)

Name = Annotated[str, typer.Argument(help="Name of the secret: letters, digits and _.", show_default=False)]
Project = Annotated[str | None, typer.Option(help="Id or name of the project.", autocompletion=completion.projects)]
Repo = Annotated[
    str | None,
    typer.Option(help="In place of --project: URL or path of a repository. Its runs without --project get the secret."),
]


@secret.command("set")
def set_secret(
    name: Name,
    project: Project = None,
    repo: Repo = None,
    value_file: Annotated[Path | None, typer.Option(help="File with the value; without it standard input.")] = None,
    as_json: Json = False,
) -> None:
    """Store a secret, or replace its value. On a terminal, the command asks for the value and does not show it.

    A newline at the end of a value of one line is removed.

    Example: relay secret set ANTHROPIC_API_KEY --repo . < key.txt

    Example: relay secret set DEPLOY_KEY --project shop --value-file id_ed25519
    """
    value = one_line(_read_value(name, value_file))
    api = connect()
    project_id = find_project(api, project, repo, make=True)
    api.call("PUT", f"/v1/projects/{project_id}/secrets/{name}", json={"value": value})
    _report(name, project_id, "stored", as_json=as_json)


@secret.command("list")
def list_secrets(project: Project = None, repo: Repo = None, as_json: Json = False) -> None:
    """List the names of a project's secrets. No command shows their values."""
    api = connect()
    project_id = find_project(api, project, repo)
    items = api.call("GET", f"/v1/projects/{project_id}/secrets")["items"]
    output.show_list(items, ("name", "created_by", "created_at", "updated_at"), as_json=as_json)


@secret.command("delete")
def delete_secret(name: Name, project: Project = None, repo: Repo = None, as_json: Json = False) -> None:
    """Delete a secret. Runs that ask for it fail from now on."""
    api = connect()
    project_id = find_project(api, project, repo)
    api.call("DELETE", f"/v1/projects/{project_id}/secrets/{name}")
    _report(name, project_id, "deleted", as_json=as_json)


def find_project(api: Api, project: str | None, repo: str | None, *, make: bool = False) -> str:
    """Return the id of the project that the user named, by the project's id or name or by a repository.

    A repository stands for its default project, to which its runs belong if they name no project.

    Args:
        api: client of the API.
        project: id or name of the project; None if ``repo`` is given.
        repo: URL or path of the repository; None if ``project`` is given.
        make: create the default project of ``repo`` if there is none.

    Raises:
        CommandFailed: both or none of ``project`` and ``repo`` are given; several projects match; or none matches and
            none is created.
    """
    if (project is None) == (repo is None):
        raise CommandFailed("name the project: --project ID (or its name), or --repo URL for runs without a project", 2)
    if repo is not None:
        url = remote(repo)
        found: list[dict[str, Any]] = list(api.items("/v1/projects", default_for=url))
        if not found and make:
            found = [_default_project(api, url)]
        return _only(found, f"for runs of {url}")
    try:
        return str(UUID(project))
    except ValueError:
        return _only([each for each in api.items("/v1/projects") if each["name"] == project], f"named {project!r}")


def _default_project(api: Api, url: str) -> dict[str, Any]:
    """Create the project of a repository's runs, under another name if there is a project of its name."""
    name = repo_name_from_url(url)
    for each in (name, f"{name}-{hashlib.sha256(url.encode()).hexdigest()[:8]}"):
        try:
            made: dict[str, Any] = api.call("POST", "/v1/projects", json={"name": each, "default_for": url})
        except CommandFailed as error:
            if error.code != "project_name_taken" or each != name:
                raise
        else:
            return made
    raise AssertionError


def _only(found: list[dict[str, Any]], description: str) -> str:
    if not found:
        raise CommandFailed(f"there is no project {description}", 2)
    if len(found) > 1:
        ids = ", ".join(each["id"] for each in found)
        raise CommandFailed(f"there are several projects {description}; name one by its id: {ids}", 2)
    return str(found[0]["id"])


def one_line(value: str) -> str:
    """Return a value of one line without its newline, which editors and `echo` add; several lines stay unchanged."""
    return value[:-1].removesuffix("\r") if value.endswith("\n") and value.count("\n") == 1 else value


def _read_value(name: str, file: Path | None) -> str:
    try:
        if file is not None:
            return file.read_bytes().decode()
        if not sys.stdin.isatty():
            return sys.stdin.buffer.read().decode()
    except (OSError, UnicodeDecodeError) as error:
        raise CommandFailed(f"the value of {name} cannot be read: {error}", 2) from None
    return str(typer.prompt(f"Value of {name}", hide_input=True, err=True))


def _report(name: str, project_id: str, outcome: str, *, as_json: bool) -> None:
    if as_json:
        output.show({"name": name, "project_id": project_id, outcome: True}, as_json=True)
    else:
        note(f"{outcome} {name} of project {project_id}")
