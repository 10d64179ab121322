"""Routes of the conversation of a run's agent; while the agent works, its new and changed entries follow."""

import json
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Query
from starlette.responses import Response

from relay_api.dependencies import ServicesDep
from relay_api.page.browser import SignedIn
from relay_api.page.rendering import PageRoute, render
from relay_api.page.runs import load_run
from relay_core.domain.errors import NotFound
from relay_core.domain.vocabulary import RunReason
from relay_core.store.database import Connection
from relay_core.store.executions import conversations
from relay_core.store.executions.conversations import EntryRow
from relay_core.store.tokens import Principal
from relay_core.store.views import execution_views
from relay_core.store.views.access import require_execution

router = APIRouter(include_in_schema=False, route_class=PageRoute)

PAGE = 200
"""Most entries of one answer."""
_SUMMARIES = ("command", "cmd", "file_path", "path", "pattern", "query", "url")
_LONGEST_SUMMARY = 160
_MARKS = {"running": "running", "completed": "completed", "failed": "failed", "interrupted": "killed"}
After = Annotated[int, Query(ge=-1, le=2**53)]


@router.get("/runs/{run_id}/conversation")
def show_conversation(
    run_id: UUID, services: ServicesDep, browser: SignedIn, turn: UUID | None = None, after: After = -1
) -> Response:
    """Return the conversation of a turn; without `turn`: of the run's last one."""
    with services.database.connect() as connection:
        of_run = load_run(connection, services, browser.principal, run_id)
        turns = [step for step in of_run.steps if step["run_reason"] == RunReason.CODING_AGENT]
        ids: list[UUID] = [one["id"] for one in turns if turn in (None, one["id"])]
        if not ids:
            raise NotFound(f"run {run_id} has no turn of an agent {turn or ''}".rstrip())
        wanted = ids[-1]
        prompt = (execution_views.execution(connection, wanted, browser.principal)["turn"] or {}).get("prompt")
        page = _page(connection, browser.principal, wanted, after)
    values = {"run": of_run.run, "turns": turns, "turn": {"id": wanted, "prompt": prompt}, "tab": "conversation"}
    return render("conversation.html", {**values, **page, "run_id": run_id}, browser=browser)


@router.get("/executions/{execution_id}/entries")
def more_entries(
    execution_id: UUID,
    services: ServicesDep,
    browser: SignedIn,
    after: After = -1,
    sequence: Annotated[int, Query(ge=0, le=2**53)] = 0,
) -> Response:
    """Return the entries after the entry `after`, and those up to it that changed after `sequence`."""
    with services.database.connect() as connection:
        run_id = require_execution(connection, execution_id, browser.principal).run_id
        page = _page(connection, browser.principal, execution_id, after, sequence)
    return render("_entries.html", {**page, "turn": {"id": execution_id}, "run_id": run_id}, browser=browser)


def _page(
    connection: Connection, principal: Principal, execution_id: UUID, after: int, sequence: int | None = None
) -> dict[str, Any]:
    # The end is read before the entries: if it has ended, no entry can be added between the two reads.
    ended = require_execution(connection, execution_id, principal).status.final
    rows = conversations.in_order(connection, execution_id, after, PAGE)
    changed = [] if sequence is None else conversations.changed(connection, execution_id, sequence, PAGE)
    known = [row for row in changed if row.entry <= after]
    last = rows[-1].entry if rows else after
    seen = max([row.sequence for row in (*rows, *known)], default=0)
    return {
        "entries": [_entry(row, known=True) for row in known] + [_entry(row, known=False) for row in rows],
        "last": last,
        "sequence": max(seen, sequence or 0),
        "more": len(rows) == PAGE,
        "open": not ended,
    }


def _entry(row: EntryRow, *, known: bool) -> dict[str, Any]:
    tool = row.content.get("tool")
    return {
        "entry": row.entry,
        "kind": row.kind,
        "known": known,
        **{name: row.content.get(name) for name in ("text", "usage", "truncated", "agent")},
        "tool": tool,
        "summary": _summary(tool) if tool else "",
        "mark": _MARKS.get(tool["status"], "queued") if tool else "",
    }


def _summary(tool: dict[str, Any]) -> str:
    """Return the paths of a tool call, or the field of its input that says most, as one short line."""
    text = ", ".join(tool["paths"]) or tool["input"]
    try:
        given = json.loads(tool["input"])
    except ValueError:
        given = None
    if not tool["paths"] and isinstance(given, dict):
        found = [given[name] for name in _SUMMARIES if isinstance(given.get(name), str)]
        text = found[0] if found else text
    line = " ".join(text.split())
    return line if len(line) <= _LONGEST_SUMMARY else line[: _LONGEST_SUMMARY - 1] + "…"
