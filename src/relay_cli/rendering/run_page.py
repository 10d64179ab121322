"""Texts about one run for people: its header, its closing summary, and the page of `relay show`."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from relay_cli.flags import in_flags
from relay_cli.rendering.names import short, state_word, step_name, waiting
from relay_cli.rendering.run_table import step_lines
from relay_cli.rendering.style import Style
from relay_cli.rendering.units import age, duration, local_time, plural, seconds_between, usage_text
from relay_core.console.terminal_text import indented, safe_line

_WORDS = {
    "success": "succeeded",
    "failure": "failed",
    "cancelled": "was cancelled",
    "timed_out": "timed out",
    "lost": "was lost",
}


def header(run: Mapping[str, Any], api_url: str) -> str:
    """Return what `relay run` prints first: ids, title, repository, executor and the links to look at."""
    places = [_place(repo) for repo in run["repos"]]
    ids = f"workspace {short(run['workspace_id'])} · session {short(run['session_id'])}"
    lines = [
        f"run {short(run['id'])} · {safe_line(run['title'] or 'untitled')}",
        " · ".join([", ".join(places) or "-", safe_line(run["executor"] or "-"), ids]),
    ]
    page = link(run, "page", api_url) or link(run, "self", api_url)
    return "\n".join([*lines, *([page] if page else [])])


def link(run: Mapping[str, Any], name: str, api_url: str) -> str | None:
    """Return a link of a run as an absolute URL; None if the run has no such link."""
    found = (run.get("links") or {}).get(name)
    return None if not found else safe_line(found if "://" in found else api_url.rstrip("/") + found)


def summary(run: Mapping[str, Any], style: Style) -> str:
    """Return the closing summary of a run that has ended.

    It says the conclusion, the reason and what to do, files and lines, branch, time, cost and the next commands.
    """
    ended = state_word(run)
    lines = [f"run {short(run['id'])} {style.paint_status(_WORDS.get(ended, ended), ended)}{_where(run)}{_times(run)}"]
    lines += why_lines(run)
    changes = [text for text in (stat_text(run.get("stat")), _branch(run)) if text]
    if changes:
        lines.append(" · ".join(changes))
    if used := usage_text(run.get("usage")):
        lines.append(f"used {used}")
    lines.append("next: " + " · ".join(next_commands(run)))
    return "\n".join(lines)


def why_lines(run: Mapping[str, Any]) -> list[str]:
    """Return why a run did not succeed, and what to do; empty for one that did."""
    if run.get("conclusion") in {None, "success"}:
        return []
    reason = f" [{safe_line(run['reason'])}]" if run.get("reason") else ""
    said = indented(in_flags(run.get("message") or ""))
    lines = [f"why: {said}{reason}"] if said or reason else []
    return lines + ([f"what to do: {indented(in_flags(run['advice']))}"] if run.get("advice") else [])


def next_commands(run: Mapping[str, Any]) -> list[str]:
    """Return the commands that help next, with short ids: for a success to get the changes, else to look and repeat."""
    identity = short(run["id"])
    if run["status"] != "completed":
        return [f"relay watch {identity}", f"relay cancel {identity}"]
    changed = (run.get("stat") or {}).get("files")
    take = [f"relay diff {identity}"] if changed else []
    if run.get("conclusion") == "success":
        take = [*take, f"relay fetch {identity}"] if changed else [f"relay logs {identity}"]
        return [*take, f'relay follow-up {identity} "…"']
    failed = run.get("failed_step") or {}
    logs = f"relay logs {short(failed['execution_id'])}" if failed else f"relay logs {identity}"
    return [logs, *take, f"relay rerun {identity}"]


def stat_text(stat: Mapping[str, Any] | None) -> str | None:
    """Return the changed files and lines: `2 files, +10 -3`; `no changes` for none, None if it is not known."""
    if stat is None:
        return None
    if not stat["files"]:
        return "no changes"
    return f"{plural(stat['files'], 'file')}, +{stat['insertions']} -{stat['deletions']}"


def page(
    run: Mapping[str, Any], steps: Sequence[Mapping[str, Any]], now: datetime, style: Style, api_url: str
) -> list[str]:
    """Return the lines of `relay show`: fields of the run, its steps with their clocks, the reason, and what to do.

    Args:
        run: the run as the API returns it.
        steps: its executions.
        now: the present time.
        style: colours and width.
        api_url: base URL of the API, for links.
    """
    status = state_word(run)
    title = safe_line(run["title"] or "untitled")
    lines = [f"{style.paint(title, 'bold')}  {style.paint_status(status, status)}", ""]
    fields = {name: value for name, value in _fields(run, now, api_url).items() if value}
    width = max(map(len, fields))
    lines += [f"{style.paint(name.ljust(width), 'dim')}  {value}" for name, value in fields.items()]
    lines += ["", *step_lines(steps, now, style)]
    if why := why_lines(run):
        lines += ["", *why]
    return [*lines, "", "next: " + " · ".join(next_commands(run))]


def _fields(run: Mapping[str, Any], now: datetime, api_url: str) -> dict[str, str | None]:
    project = run.get("project") or {}
    labels = run.get("labels") or {}
    rerun = f", a rerun of {short(run['rerun_of'])}" if run.get("rerun_of") else ""
    created = seconds_between(run["created_at"], None, now)
    by = f" by {safe_line(run['created_by'])}" if run.get("created_by") else ""
    return {
        "run": f"{run['id']} ({safe_line(run['kind'])}{rerun})",
        "workspace": f"{run['workspace_id']}, session {short(run['session_id'])}",
        "project": safe_line(project["name"]) if project else None,
        **_sources(run),
        "branch": safe_line(run["branch"]) if run.get("branch") else None,
        "executor": safe_line(run["executor"] or "") + (f" in {safe_line(run['image'])}" if run.get("image") else ""),
        "created": f"{age(created)} ago{by} ({local_time(run['created_at'])})",
        "time": _times(run).removeprefix(" in ") or None,
        "waits": waiting(run.get("queue")),
        "changes": stat_text(run.get("stat")),
        "used": usage_text(run.get("usage")),
        "labels": ", ".join(safe_line(f"{name}={value}") for name, value in labels.items()) or None,
        "page": link(run, "page", api_url),
    }


def _sources(run: Mapping[str, Any]) -> dict[str, str]:
    """Return where each repository came from, by the name of its line."""
    sources = run["sources"]
    names = ["repository"] if len(sources) == 1 else [f"repo {safe_line(source['repo'])}" for source in sources]
    return {name: _source(run, source) for name, source in zip(names, sources, strict=True)}


def _source(run: Mapping[str, Any], source: Mapping[str, Any]) -> str:
    """Return the URL, the start that was asked for, the commit it was, and the branch to merge into if that differs."""
    target, ref = source["target_branch"], source["ref"]
    start = f"{ref or target or 'the default branch'}"
    commit = f" at {source['commit'][:12]}" if source["commit"] else ""
    if run["kind"] != "job":  # it goes on in the workspace, whose branch began there
        start = f"its branch{commit}, begun at {start}"
        commit = ""
    merged = f", for {target}" if ref and target and ref != target else ""
    return safe_line(f"{source['url']} from {start}{commit}{merged}")


def _place(repo: Mapping[str, Any]) -> str:
    at = repo.get("ref") or repo.get("target_branch")
    return safe_line(repo["name"] + (f"@{at}" if at else ""))


def _where(run: Mapping[str, Any]) -> str:
    failed = run.get("failed_step")
    if not failed:
        return ""
    code = failed.get("exit_code")
    return f" in {step_name(failed)}" + (f" (exit code {code})" if code else "")


def _times(run: Mapping[str, Any]) -> str:
    """Return how long a run took, and how long each part: ` in 33s (queue 0.2s, start 3.0s, run 30s)`; or nothing."""
    timings = run.get("timings") or {}
    parts = [
        f"{name} {duration(timings[f'{name}_seconds'])}"
        for name in ("queue", "start", "run")
        if timings.get(f"{name}_seconds") is not None
    ]
    total = f" in {duration(seconds_between(run['created_at'], run['completed_at'], _EPOCH))}"
    if not run.get("completed_at"):
        return f" in {', '.join(parts)}" if parts else ""
    return total + (f" ({', '.join(parts)})" if parts else "")


def _branch(run: Mapping[str, Any]) -> str | None:
    return f"branch {safe_line(run['branch'])}" if run.get("branch") and (run.get("stat") or {}).get("files") else None


_EPOCH = datetime.fromtimestamp(0).astimezone()
