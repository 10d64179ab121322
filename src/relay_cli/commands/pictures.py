"""`relay image add | list | save | rm`: pictures that agents get; and the files of `--attach`."""

import base64
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from relay_cli import output
from relay_cli.asking import Yes, make_sure
from relay_cli.client import Api, connect
from relay_cli.commands.ids import id_option
from relay_cli.errors import CommandFailed
from relay_cli.listing import print_table
from relay_cli.output import Json
from relay_cli.rendering.names import short
from relay_cli.rendering.units import byte_count
from relay_core.console.output import note
from relay_core.console.terminal_text import safe_line

COLUMNS = ("ID", "NAME", "TYPE", "PIXELS", "SIZE", "TASKS")
MOST_BYTES = 64 << 20
"""A larger file is refused before it is sent; the server's own limit is lower as a rule."""
ImageId = Annotated[
    str, typer.Argument(metavar="ID", help="Id of a picture, or its first characters.", show_default=False)
]


def add(
    files: Annotated[list[Path], typer.Argument(metavar="FILE…", help="PNG, JPEG, GIF or WebP.", show_default=False)],
    task: Annotated[str | None, id_option("Task that gets them, or a run or workspace of it.")] = None,
    as_json: Json = False,
) -> None:
    """Upload pictures. With --task, the agents of the task get them from their next turn on.

    A picture that belongs to no task is deleted after a day.

    Example: relay image add screenshot.png --task 3f2a91bc
    """
    api = connect()
    made = [upload(api, file) for file in files]
    for each in made if task is not None else ():
        api.call("PUT", f"/v1/tasks/{task}/images/{each['id']}")
    if as_json:
        output.show_list(made, (), as_json=True)
        return
    for each in made:
        note(f"uploaded {safe_line(each['original_name'])} ({short(each['id'])})")


def list_images(
    task: Annotated[str | None, id_option("Only those of this task, or of the task of a run or workspace.")] = None,
    limit: Annotated[int, typer.Option(help="Number of rows at most.", min=1, max=1000)] = 50,
    as_json: Json = False,
) -> None:
    """List uploaded pictures, newest first.

    Example: relay image list --task 3f2a91bc
    """
    found = list(connect().items("/v1/images", limit, task_id=task))
    if as_json:
        output.show_list(found, (), as_json=True)
        return
    print_table(COLUMNS, [_cells(each) for each in found])


def _cells(found: dict[str, Any]) -> list[str]:
    return [
        short(found["id"]),
        safe_line(found["original_name"]),
        found["mime_type"],
        f"{found['width']}x{found['height']}",
        byte_count(found["size_bytes"]),
        str(len(found["task_ids"])),
    ]


def save(
    identity: ImageId,
    file: Annotated[Path, typer.Argument(help="File to write; it must not exist.", show_default=False)],
) -> None:
    """Write a picture into a file.

    Example: relay image save 5b8d1e3f screenshot.png
    """
    api = connect()
    found = find(api, identity)
    try:
        with file.open("xb") as target:
            target.writelines(api.body(f"/v1/images/{found['id']}/content"))
    except OSError as error:
        raise CommandFailed(f"{file} cannot be written: {error.strerror}", 2) from None
    note(f"wrote {file}")


def remove(
    identity: ImageId,
    task: Annotated[str | None, id_option("Only take it from this task.")] = None,
    yes: Yes = False,
) -> None:
    """Delete a picture that belongs to no task; with --task, take it from that task.

    Example: relay image rm 5b8d1e3f --task 3f2a91bc
    """
    api = connect()
    found = find(api, identity)
    if task is not None:
        api.call("DELETE", f"/v1/tasks/{task}/images/{found['id']}")
        note(f"took {safe_line(found['original_name'])} from the task")
        return
    make_sure(f"delete picture {safe_line(found['original_name'])}", yes=yes)
    api.call("DELETE", f"/v1/images/{found['id']}")
    note(f"deleted {safe_line(found['original_name'])}")


def attached(api: Api, files: Sequence[Path] | None) -> dict[str, Any]:
    """Upload the files of `--attach` and return the field `image_ids` of a request; nothing without files.

    Raises:
        CommandFailed: a file cannot be read, or the server refuses it.
    """
    return {"image_ids": [upload(api, file)["id"] for file in files]} if files else {}


def upload(api: Api, file: Path) -> dict[str, Any]:
    """Upload a picture and return it.

    Raises:
        CommandFailed: the file cannot be read or is too large, or the server refuses it.
    """
    try:
        with file.open("rb") as source:
            data = source.read(MOST_BYTES + 1)
    except OSError as error:
        raise CommandFailed(f"{file} cannot be read: {error.strerror}", 2) from None
    if len(data) > MOST_BYTES:
        raise CommandFailed(f"{file} has more than {MOST_BYTES} bytes", 2)
    body = {"name": file.name[:255], "data": base64.b64encode(data).decode()}
    try:
        made: dict[str, Any] = api.call("POST", "/v1/images", json=body)
    except CommandFailed as error:
        raise CommandFailed(f"{file}: {error}", error.exit_code, code=error.code, status=error.status) from None
    return made


def find(api: Api, identity: str) -> dict[str, Any]:
    """Return the picture whose id begins so.

    Raises:
        CommandFailed: there is none, or there are several.
    """
    found = [each for each in api.items("/v1/images") if each["id"].startswith(identity.lower())]
    if len(found) != 1:
        how_many = "no picture" if not found else f"{len(found)} pictures"
        raise CommandFailed(f"there is {how_many} whose id begins with {identity}", 2)
    return found[0]
