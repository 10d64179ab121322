"""`relay migrate`: moves projects, tasks, workspaces and pull requests to another Relay."""

import os
import sys
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any

import typer

from relay_cli import completion, output
from relay_cli.client import Api, connect
from relay_cli.commands.secrets import one_line
from relay_cli.errors import CommandFailed
from relay_cli.listing import print_table
from relay_cli.moving import Move, State
from relay_cli.output import Json
from relay_cli.rendering.names import short
from relay_core.console.output import note
from relay_core.console.terminal_text import safe_line
from relay_core.domain.transfer import EntityType, MigrationStatus

TOKEN = "RELAY_TARGET_TOKEN"  # noqa: S105 - the name of a variable
_COUNTED = ("KIND", *(status.value.upper() for status in MigrationStatus))
_UNDONE = ("KIND", "ID", "STATUS", "ATTEMPTS", "WHY")


def migrate(
    to: Annotated[str, typer.Option(help="Address of the other Relay, as https://relay.example.org.")],
    project: Annotated[
        str | None,
        typer.Option(help="Only this project, by its id or name.", autocompletion=completion.projects),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Count what would be moved, and change nothing.")] = False,
    status: Annotated[bool, typer.Option("--status", help="Show how far the move has come, and move nothing.")] = False,
    token_file: Annotated[
        Path | None, typer.Option(help=f"File with a token of the other Relay; without it {TOKEN}, or a question.")
    ] = None,
    wait: Annotated[float, typer.Option(min=0, help="Seconds that a Relay may be away before the command ends.")] = 60,
    as_json: Json = False,
) -> None:
    """Copy projects, tasks, workspaces and pull requests to another Relay, each once.

    After an interruption, or for what failed, give the same command again: it goes on. Nothing is deleted here.
    Environment variables and secrets stay; workspaces arrive archived.

    Example: relay migrate --to https://relay.example.org --project shop

    Example: relay migrate --to https://relay.example.org --status
    """
    url = _url(to)
    source = connect()
    if status:
        _report([each for each in source.items("/v1/migrations") if each["target_url"] == url], as_json=as_json)
        return
    move = Move(source, Api(url, _token(token_file)), wait, _tell)
    target_id = move.check()
    if dry_run:
        _count(source, project, as_json=as_json)
        return
    owner = move.register(target_id, project)
    only = None if project is None else _ids_of(source, project)
    states = {state["id"]: state for state in move.states(target_id, owner)}
    try:
        for state in move.run(list(states.values()), only):
            states[state["id"]] = state
    except KeyboardInterrupt:
        note("interrupted; give the same command again to go on")
        raise
    wanted = [state for state in states.values() if only is None or state["local_id"] in only]
    _report(wanted, as_json=as_json)
    if undone := sum(state["status"] != MigrationStatus.MIGRATED for state in wanted):
        raise CommandFailed(f"{undone} of {len(wanted)} are not migrated; mend what the list says, then migrate again")


def _url(to: str) -> str:
    if not to.startswith(("http://", "https://")):
        raise CommandFailed(f"--to must begin with http:// or https://; it is {to!r}", 2)
    if "@" in to:
        raise CommandFailed("--to must have no credentials; the token comes from a file or a variable", 2)
    return to.rstrip("/")


def _token(file: Path | None) -> str:
    if file is not None:
        try:
            return one_line(file.read_bytes().decode())
        except (OSError, UnicodeDecodeError) as error:
            raise CommandFailed(f"the token cannot be read: {error}", 2) from None
    if given := os.environ.get(TOKEN):
        return given
    if not sys.stdin.isatty():
        raise CommandFailed(f"give a token of the other Relay, in {TOKEN} or with --token-file", 2)
    return str(typer.prompt("Token of the other Relay", hide_input=True, err=True))


def _tell(state: State, name: str) -> None:
    kind, here = state["entity_type"].replace("_", " "), short(state["local_id"])
    what = f"{kind} {here}" + (f" {safe_line(name)}" if name else "")
    if state["status"] == MigrationStatus.MIGRATED:
        note(f"{what} → {short(state['remote_id'])}")
    else:
        note(f"{what} {state['status']}: {safe_line(state['error_message'])}")


def _ids_of(source: Api, project: str) -> set[str]:
    """Return the ids of a project and of all that belongs to it."""
    project_id = str(source.call("GET", f"/v1/projects/{project}")["id"])
    lists = (f"/v1/{name}" for name in ("tasks", "workspaces", "merges"))
    return {project_id, *(each["id"] for path in lists for each in source.items(path, project_id=project_id))}


def _count(source: Api, project: str | None, *, as_json: bool) -> None:
    project_id = None if project is None else source.call("GET", f"/v1/projects/{project}")["id"]
    below = {
        EntityType.TASK: source.items("/v1/tasks", project_id=project_id),
        EntityType.WORKSPACE: source.items("/v1/workspaces", project_id=project_id),
        EntityType.PR_MERGE: (each for each in source.items("/v1/merges", project_id=project_id) if each["pr_info"]),
    }
    projects = 1 if project_id else sum(1 for _ in source.items("/v1/projects"))
    counts = {EntityType.PROJECT: projects, **{kind: sum(1 for _ in found) for kind, found in below.items()}}
    output.show({f"{kind}s": count for kind, count in counts.items()}, as_json=as_json)


def _report(states: Iterable[State], *, as_json: bool) -> None:
    found = list(states)
    counts = Counter((state["entity_type"], state["status"]) for state in found)
    undone = [state for state in found if state["status"] in {MigrationStatus.FAILED, MigrationStatus.SKIPPED}]
    if as_json:
        by_kind = {kind: {status: counts[kind, status] for status in MigrationStatus} for kind in EntityType}
        output.show({"counts": by_kind, "undone": undone}, as_json=True)
        return
    print_table(_COUNTED, [[kind.value, *_numbers(counts, kind)] for kind in EntityType])
    if undone:
        rows = [
            (state["entity_type"], short(state["local_id"]), state["status"], str(state["attempt_count"]), _why(state))
            for state in undone
        ]
        print_table(_UNDONE, rows, [state["status"] for state in undone])


def _numbers(counts: Counter[Any], kind: EntityType) -> list[str]:
    return [str(counts[kind, status]) for status in MigrationStatus]


def _why(state: State) -> str:
    return safe_line(state["error_message"] or "")
