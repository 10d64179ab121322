"""`relay ps`: lists runs, one a line. This module imports little, so that the command starts quickly."""

import re
import sys
import time
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import chain
from typing import Annotated, Any

import typer

from relay_cli import completion
from relay_cli.client import Api, connect
from relay_cli.commands.ids import id_option
from relay_cli.errors import CommandFailed
from relay_cli.outage import until_answered
from relay_cli.output import Json, show_list
from relay_cli.rendering.names import short
from relay_cli.rendering.run_table import clone_lines, run_lines, step_lines
from relay_cli.rendering.style import style_of

WATCH_SECONDS = 2.0
"""Seconds between two updates of `relay ps --watch`."""
DEFAULT_LIMIT = 20
MOST_CLONES = 20
"""Most clones of projects that are listed, the newest ones."""
_STATUSES = ("queued", "running", "completed")
_CONCLUSIONS = {
    **{word: word for word in ("success", "failure", "cancelled", "timed_out", "lost")},
    "failed": "failure",
    "killed": "cancelled",
}
"""Conclusions by the words that a person types; the last two words are those for steps."""
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}
_CLEAR = "\x1b[H\x1b[2J"


def ps(
    all_runs: Annotated[bool, typer.Option("--all", "-a", help="All runs, not only the newest.")] = False,
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Show the list again every two seconds.")] = False,
    status: Annotated[
        list[str] | None,
        typer.Option(
            help="Only runs with this status or conclusion: queued, running, completed, success, failure, cancelled, "
            "timed_out, lost. Repeat the option for more of them.",
            autocompletion=completion.run_statuses,
        ),
    ] = None,
    project: Annotated[
        str | None,
        typer.Option(
            metavar="PROJECT",
            help="Only runs of this project: its name or id.",
            autocompletion=completion.projects,
        ),
    ] = None,
    repo: Annotated[str | None, typer.Option(help="Only runs on this repository: its URL or name.")] = None,
    label: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=VALUE", help="Only runs with this label.", autocompletion=completion.labels),
    ] = None,
    since: Annotated[
        str | None, typer.Option(metavar="TIME", help="Only runs made since then: 30m, 12h, 7d, or an ISO date.")
    ] = None,
    query: Annotated[str | None, typer.Option("--query", "-q", help="Only runs whose title has this text.")] = None,
    workspace: Annotated[
        str | None, id_option("List the steps of this workspace, dev servers included, in their order.")
    ] = None,
    limit: Annotated[int, typer.Option(help="Number of rows at most.", min=1, max=1000)] = DEFAULT_LIMIT,
    as_json: Json = False,
) -> None:
    """List runs, newest first: those that are queued or running, and the newest of the others.

    Example: relay ps --status failure --since 1d
    """
    api = connect()
    filters = {
        **_of_status(status or []),
        "project": project,
        "repo": repo,
        "label": label or None,
        "since": None if since is None else since_time(since, datetime.now(UTC)),
        "q": query,
    }
    while True:
        ask = partial(_rows, api, filters, workspace, None if all_runs else limit)
        rows = until_answered(api, "relay ps", ask) if watch else ask()
        if as_json:
            show_list(rows, (), as_json=True)
        else:
            unfiltered = workspace is None and not any(filters[name] for name in filters if name != "project")
            clones = until_answered(api, "relay ps", partial(_clones, api, project)) if unfiltered else []
            _print(rows, clones, steps=workspace is not None, clear=watch)
        if not watch:
            return
        time.sleep(WATCH_SECONDS)


def _rows(api: Api, filters: dict[str, Any], workspace: str | None, limit: int | None) -> list[dict[str, Any]]:
    if workspace is not None:
        return list(api.items(f"/v1/workspaces/{workspace}/executions", limit))
    return _runs(api, filters, limit)


def _runs(api: Api, filters: dict[str, Any], limit: int | None) -> list[dict[str, Any]]:
    """Return the newest runs, and all that have not ended: an old one that still runs must not be missing."""
    newest = list(api.items("/v1/runs", limit, **filters))
    if limit is None or len(newest) < limit or filters.get("status") or filters.get("conclusion"):
        return newest
    active = api.items("/v1/runs", None, **{**filters, "status": ["queued", "running"]})
    known = {run["id"]: run for run in chain(newest, active)}
    return sorted(known.values(), key=lambda run: str(run["created_at"]), reverse=True)


def _clones(api: Api, project: str | None) -> list[tuple[str, dict[str, Any]]]:
    """Return the clones of projects that have not ended, with the names of the projects.

    Args:
        api: the client.
        project: name or id of the only project that counts; None: all do.
    """
    words: dict[str, Any] = {"without_workspace": True, "status": ["queued", "running"]}
    found = []
    for execution in api.items("/v1/executions", MOST_CLONES, **words):
        name = _project_name(api, execution["project_id"])
        if project in {None, name, execution["project_id"]}:
            found.append((name, execution))
    return found


def _project_name(api: Api, project_id: str) -> str:
    try:
        return str(api.call("GET", f"/v1/projects/{project_id}")["name"])
    except CommandFailed:  # it was deleted, and its clone is about to end
        return short(project_id)


def _print(rows: list[dict[str, Any]], clones: list[tuple[str, dict[str, Any]]], *, steps: bool, clear: bool) -> None:
    style = style_of(sys.stdout)
    lines = (step_lines if steps else run_lines)(rows, datetime.now(UTC), style) + clone_lines(clones, style)
    before = _CLEAR if clear and sys.stdout.isatty() else ""
    print(before + "\n".join(lines), flush=True)


def _of_status(words: list[str]) -> dict[str, list[str] | None]:
    """Return the filters of the API for the words of --status.

    Raises:
        CommandFailed: a word is neither a status nor a conclusion.
    """
    unknown = [word for word in words if word not in _STATUSES and word not in _CONCLUSIONS]
    if unknown:
        known = ", ".join([*_STATUSES, *_CONCLUSIONS][:-2])
        raise CommandFailed(f"--status knows no {unknown[0]!r}; it takes {known}", 2)
    statuses = [word for word in words if word in _STATUSES]
    conclusions = [_CONCLUSIONS[word] for word in words if word in _CONCLUSIONS]
    if statuses and conclusions:
        raise CommandFailed("--status takes statuses (queued, running, completed) or conclusions, not both at once", 2)
    return {"status": statuses or None, "conclusion": conclusions or None}


def since_time(text: str, now: datetime) -> str:
    """Return the time that a person typed, as the API takes it: `2h` is two hours before ``now``.

    Raises:
        CommandFailed: the text is neither a number with a unit nor an ISO date.
    """
    found = re.fullmatch(r"(\d{1,6})([smhdw])", text.strip())
    if found is not None:
        return (now - timedelta(seconds=int(found[1]) * _SECONDS[found[2]])).isoformat()
    try:
        return datetime.fromisoformat(text.strip()).astimezone().isoformat()
    except (ValueError, OverflowError):
        raise CommandFailed(f"--since takes a time such as 30m, 12h, 7d or 2026-11-26; got {text!r}", 2) from None
