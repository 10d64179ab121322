"""`relay tag list | show | create | edit | rm`: texts that prompts contain as `@NAME`."""

from pathlib import Path
from typing import Annotated
from urllib.parse import quote

import typer

from relay_cli import output
from relay_cli.asking import Yes, make_sure
from relay_cli.client import connect
from relay_cli.errors import CommandFailed
from relay_cli.listing import print_table
from relay_cli.output import Json
from relay_cli.rendering.names import short
from relay_cli.text_input import read_text
from relay_core.console.output import note
from relay_core.console.terminal_text import safe_line

tag = typer.Typer(help="Tags: texts that prompts contain as `@NAME`.", no_args_is_help=True)
COLUMNS = ("ID", "NAME", "CONTENT")
Named = Annotated[str, typer.Argument(metavar="TAG", help="Name or id of a tag.", show_default=False)]
Content = Annotated[str | None, typer.Option(help="The text itself.")]
File = Annotated[Path | None, typer.Option(help="File with the text; `-`: standard input.")]
SHOWN_CHARACTERS = 60


@tag.command("list")
def list_tags(
    query: Annotated[str | None, typer.Option(help="Only tags whose names contain this.")] = None,
    limit: Annotated[int, typer.Option(help="Number of rows at most.", min=1, max=1000)] = 50,
    as_json: Json = False,
) -> None:
    """List tags, newest first, each with the beginning of its text."""
    found = list(connect().items("/v1/tags", limit, query=query))
    if as_json:
        output.show_list(found, (), as_json=True)
        return
    rows = [[short(each["id"]), safe_line(each["tag_name"]), _beginning(each["content"])] for each in found]
    print_table(COLUMNS, rows)


@tag.command("show")
def show_tag(name: Named, as_json: Json = False) -> None:
    """Print the text of a tag.

    Example: relay tag show careful
    """
    found = connect().call("GET", f"/v1/tags/{_part(name)}")
    output.show(found if as_json else {"tag": found["tag_name"], "content": found["content"]}, as_json=as_json)


@tag.command("create")
def create_tag(
    name: Annotated[str, typer.Argument(help="Name: letters, digits, _ and -.", show_default=False)],
    content: Content = None,
    file: File = None,
    as_json: Json = False,
) -> None:
    """Create a tag. Prompts that contain `@NAME` get the text instead.

    Example: relay tag create careful --content 'Run the tests before you end.'

    Example: relay tag create review --file review.md
    """
    text = read_text(content, file, "the text")
    if text is None:
        raise CommandFailed("give the text of the tag: --content TEXT or --file FILE", 2)
    made = connect().call("POST", "/v1/tags", json={"tag_name": name, "content": text})
    if as_json:
        output.show(made, as_json=True)
    else:
        note(f"created tag {safe_line(name)}: relay run 'mend the parser; @{safe_line(name)}'")


@tag.command("edit")
def edit_tag(
    name: Named,
    rename: Annotated[str | None, typer.Option(metavar="NAME", help="Another name.")] = None,
    content: Content = None,
    file: File = None,
    as_json: Json = False,
) -> None:
    """Change the text or the name of a tag. Prompts that were sent before stay as they are.

    Example: relay tag edit careful --rename slowly
    """
    given = {"tag_name": rename, "content": read_text(content, file, "the text")}
    body = {key: value for key, value in given.items() if value is not None}
    if not body:
        raise CommandFailed("say what to change: --content TEXT, --file FILE or --rename NAME", 2)
    made = connect().call("PATCH", f"/v1/tags/{_part(name)}", json=body)
    if as_json:
        output.show(made, as_json=True)
    else:
        note(f"changed tag {safe_line(made['tag_name'])}")


@tag.command("rm")
def remove_tag(name: Named, yes: Yes = False) -> None:
    """Delete a tag. In prompts that are sent from now on, `@NAME` stays as it is.

    Example: relay tag rm careful
    """
    make_sure(f"delete tag {safe_line(name)}", yes=yes)
    connect().call("DELETE", f"/v1/tags/{_part(name)}")
    note(f"deleted tag {safe_line(name)}")


def _part(name: str) -> str:
    return quote(name.removeprefix("@"), safe="")


def _beginning(content: str) -> str:
    line = safe_line(content)
    return line if len(line) <= SHOWN_CHARACTERS else line[: SHOWN_CHARACTERS - 1] + "…"
