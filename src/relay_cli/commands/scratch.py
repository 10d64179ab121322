"""`relay scratch list | show | set | rm`: drafts, notes and preferences, addressed by type and id."""

import json
from pathlib import Path
from typing import Annotated
from urllib.parse import quote

import typer

from relay_cli import output
from relay_cli.client import connect
from relay_cli.errors import CommandFailed
from relay_cli.output import Json
from relay_cli.text_input import read_text
from relay_core.console.output import note
from relay_core.domain.vocabulary import ScratchType

scratch = typer.Typer(help="Drafts, notes and preferences of yours.", no_args_is_help=True)
Type = Annotated[ScratchType, typer.Argument(metavar="TYPE", help=", ".join(ScratchType), show_default=False)]
Id = Annotated[str, typer.Argument(help="Whole id of what it is about, for example of a session.", show_default=False)]
_TEXT_FIELDS = {
    ScratchType.DRAFT_TASK: "text",
    ScratchType.WORKSPACE_NOTES: "text",
    ScratchType.DRAFT_FOLLOW_UP: "prompt",
    ScratchType.DRAFT_WORKSPACE: "prompt",
    ScratchType.PREVIEW_SETTINGS: "url",
}
"""The field of a payload that a plain text is stored as."""


@scratch.command("list")
def list_scratch(
    scratch_type: Annotated[ScratchType | None, typer.Option("--type", help="Only of this type.")] = None,
    limit: Annotated[int, typer.Option(help="Number of rows at most.", min=1, max=1000)] = 50,
    as_json: Json = False,
) -> None:
    """List your drafts, notes and preferences, newest first."""
    found = connect().items("/v1/scratch", limit, type=scratch_type)
    output.show_list(found, ("scratch_type", "id", "updated_at"), as_json=as_json)


@scratch.command("show")
def show_scratch(scratch_type: Type, identity: Id, as_json: Json = False) -> None:
    """Show one draft, note or preference.

    Example: relay scratch show workspace_notes fe8a69c8-0a5c-4c1f-8f0e-2b7d6e1f3a4c
    """
    found = connect().call("GET", _path(scratch_type, identity))
    output.show(found if as_json else found["payload"], as_json=as_json)


@scratch.command("set")
def set_scratch(
    scratch_type: Type,
    identity: Id,
    text: Annotated[str | None, typer.Argument(help="The text, prompt or URL.", show_default=False)] = None,
    file: Annotated[Path | None, typer.Option(help="File with the text; `-`: standard input.")] = None,
    payload: Annotated[str | None, typer.Option(help="In place of a text: all fields, as JSON.")] = None,
    as_json: Json = False,
) -> None:
    """Store a draft, a note or a preference in place of what is there.

    Example: relay scratch set workspace_notes fe8a69c8-0a5c-4c1f-8f0e-2b7d6e1f3a4c 'ask Ann about the schema'
    """
    given = read_text(text, file, "the text")
    if (given is None) == (payload is None):
        raise CommandFailed("give either a text (or --file FILE) or --payload JSON", 2)
    fields = _fields(scratch_type, given) if payload is None else _parsed(payload)
    body = {"payload": {"type": scratch_type, **fields}}
    made = connect().call("PUT", _path(scratch_type, identity), json=body)
    if as_json:
        output.show(made, as_json=True)
    else:
        note(f"stored {scratch_type} {made['id']}")


@scratch.command("rm")
def remove_scratch(scratch_type: Type, identity: Id) -> None:
    """Delete one draft, note or preference.

    Example: relay scratch rm draft_task 2d03d844-5b1e-4f4b-8d8e-90b3a5c1d2e3
    """
    connect().call("DELETE", _path(scratch_type, identity))
    note(f"deleted {scratch_type} {identity}")


def _path(scratch_type: ScratchType, identity: str) -> str:
    return f"/v1/scratch/{scratch_type}/{quote(identity, safe='')}"


def _fields(scratch_type: ScratchType, text: str | None) -> dict[str, object]:
    name = _TEXT_FIELDS.get(scratch_type)
    if name is None:
        raise CommandFailed(f"{scratch_type} is no text: give --payload JSON", 2)
    return {name: text}


def _parsed(payload: str) -> dict[str, object]:
    try:
        found = json.loads(payload)
    except ValueError as error:
        raise CommandFailed(f"--payload is not JSON: {error}", 2) from None
    if not isinstance(found, dict):
        raise CommandFailed("--payload must be a JSON object", 2)
    return found
