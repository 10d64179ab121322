"""`relay project files put | list | rm`: files that git does not have, stored with a project for its clones."""

import base64
import os
import stat
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import quote

import typer

from relay_cli import completion, output
from relay_cli.asking import Yes, make_sure
from relay_cli.client import connect
from relay_cli.errors import CommandFailed
from relay_cli.listing import print_table
from relay_cli.output import Json
from relay_cli.rendering.names import short
from relay_cli.rendering.units import byte_count, local_time
from relay_core.console.output import note
from relay_core.console.terminal_text import safe_line

files = typer.Typer(no_args_is_help=True, help="Files that new workspaces get besides those of git, such as .env.")
COLUMNS = ("ID", "REPO", "PATH", "SIZE", "STORED")
MOST_BYTES = 64 << 20
"""A larger file is refused before it is sent; the server's own limit is lower as a rule."""
Named = Annotated[
    str,
    typer.Argument(
        metavar="PROJECT", help="Name or id of a project.", show_default=False, autocompletion=completion.projects
    ),
]
Repo = Annotated[
    str | None, typer.Option(help="Name or id of its repository; without it the only one.", show_default=False)
]


@files.command("put")
def put_file(
    name: Named,
    file: Annotated[Path, typer.Argument(help="A regular file, no link.", show_default=False)],
    to: Annotated[
        str | None, typer.Option(metavar="PATH", help="Path in the repository; without it the name of the file.")
    ] = None,
    repo: Repo = None,
    as_json: Json = False,
) -> None:
    """Store a file with a project, or another content for it. The server encrypts it, and never shows it again.

    Example: relay project files put shop .env.production --to .env
    """
    data, executable = _content(file)
    body = {"path": to or file.name, "content": base64.b64encode(data).decode(), "executable": executable}
    made = connect().call("POST", _path(name), json=body | ({"repo": repo} if repo else {}))
    if as_json:
        output.show(made, as_json=True)
    else:
        note(f"stored {_shown(made)}; new workspaces get it")


@files.command("list")
def list_files(name: Named, as_json: Json = False) -> None:
    """List the files of a project. No command shows their content.

    Example: relay project files list shop
    """
    found = connect().call("GET", _path(name))["items"]
    if as_json:
        output.show_list(found, (), as_json=True)
        return
    print_table(COLUMNS, [_cells(each) for each in found])


@files.command("rm")
def remove_file(
    name: Named,
    path: Annotated[str, typer.Argument(help="Path in the repository, or id of the file.", show_default=False)],
    repo: Repo = None,
    yes: Yes = False,
) -> None:
    """Delete a stored file. Workspaces that have it keep it.

    Example: relay project files rm shop .env
    """
    api = connect()
    items = api.call("GET", _path(name))["items"]
    found = [each for each in items if path in {each["path"], each["id"], short(each["id"])}]
    found = [each for each in found if repo is None or repo in {each["repo"], each["repo_id"]}]
    if len(found) != 1:
        several = "; name the repository by --repo" if found else "; see `relay project files list`"
        raise CommandFailed(f"the project has {len(found) or 'no'} files {path!r}{several}", 2)
    make_sure(f"delete {_shown(found[0])}", yes=yes)
    api.call("DELETE", f"{_path(name)}/{found[0]['id']}")
    note(f"deleted {_shown(found[0])}")


def _content(file: Path) -> tuple[bytes, bool]:
    """Return the bytes of a regular file, and whether it is executable.

    Raises:
        CommandFailed: it is a link or no regular file, cannot be read, or is too large.
    """
    try:
        fd = os.open(file, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(fd, "rb") as source:
            mode = os.fstat(fd).st_mode
            if not stat.S_ISREG(mode):
                raise CommandFailed(f"{file} is not a regular file", 2)
            data = source.read(MOST_BYTES + 1)
    except OSError as error:
        raise CommandFailed(f"{file} cannot be read as a file of its own: {error.strerror}", 2) from None
    if len(data) > MOST_BYTES:
        raise CommandFailed(f"{file} has more than {MOST_BYTES} bytes", 2)
    return data, bool(mode & stat.S_IXUSR)


def _cells(found: dict[str, Any]) -> list[str]:
    return [
        short(found["id"]),
        safe_line(found["repo"]),
        safe_line(found["path"]),
        byte_count(found["size_bytes"]),
        local_time(found["updated_at"]),
    ]


def _shown(found: dict[str, Any]) -> str:
    return f"{safe_line(found['path'])} of {safe_line(found['repo'])} ({byte_count(found['size_bytes'])})"


def _path(name: str) -> str:
    return f"/v1/projects/{quote(name, safe='')}/files"
