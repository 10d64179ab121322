"""The page of `relay show` for one execution: what it was, how it ended, and what it left in each repository."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from relay_cli.flags import in_flags
from relay_cli.rendering.names import short, step_name, waiting
from relay_cli.rendering.run_page import stat_text
from relay_cli.rendering.style import Style
from relay_cli.rendering.units import byte_count, duration, local_time, seconds_between, usage_text
from relay_core.console.terminal_text import indented, safe_line


def page(execution: Mapping[str, Any], now: datetime, style: Style) -> list[str]:
    """Return the lines about an execution; fields without a value are left out.

    Args:
        execution: the execution as the API returns it (`ExecutionDetail`).
        now: the present time, for an execution that has not ended.
        style: colours.
    """
    status = safe_line(execution["status"])
    lines = [f"{style.paint(step_name(execution), 'bold')}  {style.paint_status(status, status)}", ""]
    fields = {name: value for name, value in _fields(execution, now).items() if value}
    width = max(map(len, fields))
    lines += [f"{style.paint(name.ljust(width), 'dim')}  {value}" for name, value in fields.items()]
    for state in execution.get("repo_states") or []:
        lines += ["", *_repository(state, style)]
    identity = short(execution["id"])
    return [*lines, "", f"next: relay logs {identity} · relay diff --execution {identity}"]


def _fields(execution: Mapping[str, Any], now: datetime) -> dict[str, str | None]:
    began, ended = execution.get("started_at"), execution.get("completed_at")
    code = execution.get("exit_code")
    turn = execution.get("turn") or {}
    logs = execution.get("logs") or {}
    return {
        "execution": str(execution["id"]),
        "run": execution.get("run_id"),
        "project": execution.get("project_id"),
        "workspace": _workspace(execution),
        "executor": safe_line(execution.get("executor") or ""),
        "attempt": str(execution["attempt"]) if execution.get("attempt", 1) > 1 else None,
        "retry of": execution.get("retry_of"),
        "node": safe_line(execution.get("node_id") or ""),
        "created": local_time(execution["created_at"]),
        "queued for": duration(seconds_between(execution["created_at"], began or ended, now)),
        "ran for": duration(seconds_between(began, ended, now)) if began else None,
        "waits": waiting(execution.get("queue")),
        "exit code": None if code is None else str(code),
        "reason": safe_line(execution.get("reason") or ""),
        "why": indented(in_flags(execution.get("error_reason") or "")),
        "log": ", ".join(f"{name} {byte_count(log['bytes'])}" for name, log in logs.items() if log["bytes"]),
        "used": usage_text(turn.get("usage")),
        "dev server": safe_line((execution.get("dev_server") or {}).get("url") or ""),
    }


def _workspace(execution: Mapping[str, Any]) -> str | None:
    if execution["workspace_id"] is None:
        return None
    return f"{execution['workspace_id']}, session {short(execution['session_id'])}"


def _repository(state: Mapping[str, Any], style: Style) -> list[str]:
    heads = f"{_commit(state['before_head_commit'])} → {_commit(state['after_head_commit'])}"
    branch = f" on {safe_line(state['branch'])}" if state.get("branch") else ""
    stat = state.get("stat") or {}
    told = [
        f"head {heads}{branch}",
        *(["the state after the step is unavailable"] if state["after_state"] == "unavailable" else []),
        *([f"Relay committed {_commit(state['committed'])}"] if state.get("committed") else []),
        *(["the work tree has uncommitted changes"] if state.get("dirty") else []),
        *([str(stat_text(stat))] if "files" in stat else []),
        *([f"problem: {indented(state['problem'])}"] if state.get("problem") else []),
        *(f"not kept: {safe_line(omitted['path'])}: {safe_line(omitted['why'])}" for omitted in state["omitted"]),
    ]
    return [style.paint(safe_line(state["name"]), "bold"), *(f"  {line}" for line in told)]


def _commit(commit: str | None) -> str:
    return safe_line(commit)[:12] if commit else "none"
