"""The tables of `relay ps`: runs, one a line, and the steps of a run."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from rich.cells import cell_len

from relay_cli.rendering.names import repo_names, short, state_word, waiting
from relay_cli.rendering.style import Style, fitted
from relay_cli.rendering.units import age, duration, seconds_between
from relay_core.console.terminal_text import safe_line

RUN_COLUMNS = ("ID", "TITLE", "REPO", "STEP", "STATUS", "AGE", "TOOK")
STEP_COLUMNS = ("ID", "STEP", "REPO", "STATUS", "EXIT", "QUEUED", "TOOK")
_LEAST = {"TITLE": 12, "REPO": 8}
"""Columns that are cut on a narrow terminal, in this order, and the cells that each keeps."""
_GAP = "  "


def run_lines(runs: Iterable[Mapping[str, Any]], now: datetime, style: Style) -> list[str]:
    """Return the lines of a table of runs, and below it what the queued ones wait for.

    Args:
        runs: runs as the API returns them.
        now: the present time, for ages.
        style: colours and width.
    """
    found = list(runs)
    rows = [_run_cells(run, now) for run in found]
    lines = table(RUN_COLUMNS, rows, [state_word(run) for run in found], style)
    return lines + waiting_lines(found, style)


def step_lines(steps: Iterable[Mapping[str, Any]], now: datetime, style: Style) -> list[str]:
    """Return the lines of a table of executions: how long each was queued, and how long it ran.

    Args:
        steps: executions as the API returns them.
        now: the present time, for those that have not ended.
        style: colours and width.
    """
    found = list(steps)
    rows = [_step_cells(step, now) for step in found]
    return table(STEP_COLUMNS, rows, [step["status"] for step in found], style)


def waiting_lines(runs: Iterable[Mapping[str, Any]], style: Style) -> list[str]:
    """Return a line for each reason why runs wait, with the ids of the runs."""
    waits: dict[str, list[str]] = {}
    for run in runs:
        if (why := waiting(run.get("queue"))) is not None:
            waits.setdefault(why, []).append(short(run["id"]))
    return [style.paint(f"waits: {why} ({', '.join(ids)})", "yellow") for why, ids in waits.items()]


def table(columns: Sequence[str], rows: Sequence[Sequence[str]], statuses: Sequence[str], style: Style) -> list[str]:
    """Return the lines of a table with a heading; without a row, only the heading.

    On a narrow terminal the columns TITLE and REPO are cut. No line ends with a blank.

    Args:
        columns: headings.
        rows: cells of each row, safe for a terminal.
        statuses: status of each row, for the colour of its cell STATUS.
        style: colours and width.
    """
    widths = _widths(columns, rows, style.width)
    lines = [style.paint(_GAP.join(map(fitted, columns, widths)).rstrip(), "bold")]
    for cells, status in zip(rows, statuses, strict=True):
        shown = [fitted(cell, width) for cell, width in zip(cells, widths, strict=True)]
        shown[-1] = shown[-1].rstrip()
        if "STATUS" in columns:
            at = columns.index("STATUS")
            shown[at] = style.paint_status(shown[at], status)
        lines.append(_GAP.join(shown).rstrip())
    return lines


def _widths(columns: Sequence[str], rows: Sequence[Sequence[str]], width: int | None) -> list[int]:
    widths = [max(map(cell_len, cells)) for cells in zip(columns, *rows, strict=True)]
    too_many = 0 if width is None else sum(widths) + len(_GAP) * (len(widths) - 1) - width
    for name, least in _LEAST.items():
        if too_many > 0 and name in columns:
            at = columns.index(name)
            cut = min(too_many, max(0, widths[at] - least))
            widths[at] -= cut
            too_many -= cut
    return widths


def clone_lines(clones: Iterable[tuple[str, Mapping[str, Any]]], style: Style) -> list[str]:
    """Return a line for each clone of a project that has not ended.

    Args:
        clones: the name of the project, and the execution as the API returns it.
        style: colours and width.
    """
    found = []
    for project, step in clones:
        progress = step.get("progress")
        how = f"{step['status']}, {progress['message']}" if progress else step["status"]
        found.append(style.paint(safe_line(f"clone of project {project}: {how} ({short(step['id'])})"), "yellow"))
    return found


def _step(step: Mapping[str, Any]) -> str:
    """Return the kind of a step; with its part and percentage, while it is a clone that tells them."""
    progress = step.get("progress")
    more = f" {progress['phase']} {progress['percent']}%" if progress else ""
    return safe_line(f"{step.get('run_reason') or '-'}{more}")


def _run_cells(run: Mapping[str, Any], now: datetime) -> list[str]:
    step = run.get("failed_step") or run.get("current_step") or {}
    began = run.get("started_at")
    return [
        short(run["id"]),
        safe_line(run["title"] or "-"),
        repo_names(run),
        _step(step),
        state_word(run),
        age(seconds_between(run["created_at"], None, now)),
        duration(seconds_between(began, run.get("completed_at"), now)) if began else "-",
    ]


def _step_cells(step: Mapping[str, Any], now: datetime) -> list[str]:
    began, ended = step.get("started_at"), step.get("completed_at")
    code = step.get("exit_code")
    return [
        short(step["id"]),
        _step(step),
        safe_line(step.get("repo") or "-"),
        safe_line(step["status"]),
        "-" if code is None else str(code),
        duration(seconds_between(step["created_at"], began or ended, now)),
        duration(seconds_between(began, ended, now)) if began else "-",
    ]
