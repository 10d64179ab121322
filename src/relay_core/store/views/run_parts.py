"""The parts of a run's view that are read from other tables: its steps, repositories, usage and times."""

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, RowMapping, bindparam, func, select, text
from sqlalchemy.dialects.postgresql import distinct_on

from relay_core.domain.run import ADVICE
from relay_core.domain.vocabulary import Priority, Reason, RunKind, RunReason, Status
from relay_core.store.schema.tables import ExecutionProcess, ExecutionProcessRepoState, WorkspaceRepo
from relay_core.store.views.clone_progress import progress_of
from relay_core.store.views.waiting import queues_of

E, State = ExecutionProcess, ExecutionProcessRepoState
View = dict[str, Any]
Step = RowMapping
COUNTS = ("files", "insertions", "deletions")

# Built once: building these statements costs more than carrying them out.
_OF_RUNS = E.run_id.in_(bindparam("runs", expanding=True))
_STEPS = (
    select(
        E.id.label("execution_id"),
        E.run_id,
        E.session_id,
        E.run_reason,
        E.status,
        E.reason,
        E.exit_code,
        E.error_reason.label("message"),
        E.created_at,
        E.started_at,
        E.completed_at,
        E.executor_action[("step", "repo")].as_string().label("repo"),
    )
    .where(_OF_RUNS)
    .order_by(E.created_at, E.id)
)
_OF_REPO = ("name", "url", "target_branch", "ref", "base_commit")
_REPOS = (
    select(WorkspaceRepo.workspace_id, WorkspaceRepo.repo_id, *(getattr(WorkspaceRepo, name) for name in _OF_REPO))
    .where(WorkspaceRepo.workspace_id.in_(bindparam("workspaces", expanding=True)))
    .order_by(WorkspaceRepo.position)
)
_STARTS = (
    select(E.run_id, State.repo_id, State.before_head_commit)
    .ext(distinct_on(E.run_id, State.repo_id))
    .join(E, E.id == State.execution_process_id)
    .where(_OF_RUNS, State.before_head_commit.is_not(None))
    .order_by(E.run_id, State.repo_id, E.created_at, E.id)
)
_STATS = (
    select(E.run_id, State.repo_id, State.stat)
    .ext(distinct_on(E.run_id, State.repo_id))
    .join(E, E.id == State.execution_process_id)
    .where(_OF_RUNS, func.jsonb_typeof(State.stat) == "object")
    .order_by(E.run_id, State.repo_id, E.completed_at.desc(), E.id)
)
_USAGE = text(
    """
    SELECT e.run_id, used.key, sum(used.value::float8) AS total FROM execution_processes e
    JOIN coding_agent_turns t ON t.execution_process_id = e.id,
    jsonb_each_text(CASE jsonb_typeof(t.usage) WHEN 'object' THEN t.usage ELSE '{}' END) used
    WHERE e.run_id = ANY(:ids) GROUP BY e.run_id, used.key ORDER BY e.run_id, used.key
    """
)


def completed(connection: Connection, views: list[View]) -> list[View]:
    """Return the views of runs with the fields that do not stand in the rows of the runs. Views are changed in place.

    Args:
        connection: any transaction.
        views: the columns of `run_views`.
    """
    ids = [view["id"] for view in views]
    steps = _steps(connection, ids)
    repos = _repos(connection, [view["workspace_id"] for view in views])
    stats = _stats(connection, ids)
    usage = _usage(connection, ids)
    starts = _starts(connection, [view["id"] for view in views if view["kind"] != RunKind.JOB])
    for view in views:
        run_id = view["id"]
        own = steps.get(run_id, [])
        _add_outcome(view, own)
        _add_steps(view, own)
        view["repos"] = [
            {**repo, "stat": stats.get((run_id, repo_id))} for repo_id, repo in repos.get(view["workspace_id"], [])
        ]
        view["sources"] = [
            _source(view, repo, starts.get((run_id, repo_id))) for repo_id, repo in repos.get(view["workspace_id"], [])
        ]
        view["stat"] = _sum([repo["stat"] for repo in view["repos"]])
        view["usage"] = usage.get(run_id)
        view["timings"] = _timings(view, own)
        view["project"] = {"id": view.pop("project_id"), "name": view.pop("project_name")}
        view["pull_request"] = None
    _add_queues(connection, views)
    _add_progress(connection, views)
    return views


def _steps(connection: Connection, run_ids: Sequence[UUID]) -> dict[UUID, list[Step]]:
    found: dict[UUID, list[Step]] = {}
    rows = connection.execute(_STEPS, {"runs": run_ids})
    for row in rows.mappings():
        found.setdefault(row["run_id"], []).append(row)
    return found


def _add_outcome(view: View, steps: Sequence[Step]) -> None:
    """Add how the run ended, from the step that decided it; after a success, the exit code of the agent."""
    deciding_id = view.pop("deciding_execution_id")
    deciding = next((step for step in steps if step["execution_id"] == deciding_id), None)
    names = ("execution_id", "run_reason", "repo", "status", "reason", "exit_code", "message")
    view["failed_step"] = None if deciding is None else {name: deciding[name] for name in names}
    for name in ("reason", "message", "exit_code"):
        view[name] = None if deciding is None else deciding[name]
    view["advice"] = None if deciding is None else advice(deciding["reason"])
    if view["conclusion"] == "success":
        last = _agent(steps) or steps[-1]
        view["exit_code"] = last["exit_code"]


def advice(reason: str) -> str | None:
    """Return what a person can do about an end with this reason; None where nothing is to be done."""
    return None if reason == Reason.USER else ADVICE[Reason(reason)]


def _add_steps(view: View, steps: Sequence[Step]) -> None:
    """Add the agent's execution, and the step that runs or is next."""
    agent = _agent(steps)
    view["agent_execution_id"] = None if agent is None else agent["execution_id"]
    view["session_id"] = view["session_id"] if agent is None else agent["session_id"]
    active = [step for step in steps if step["status"] in {Status.QUEUED, Status.RUNNING}]
    current = next((step for step in active if step["status"] == Status.RUNNING), next(iter(active), None))
    names = ("execution_id", "run_reason", "repo", "status")
    view["current_step"] = current and {name: current[name] for name in names}


def _add_queues(connection: Connection, views: Sequence[View]) -> None:
    """Add what the current steps wait for that are queued."""
    current = [view["current_step"] for view in views if view["current_step"]]
    queued = [step["execution_id"] for step in current if step["status"] == Status.QUEUED]
    queues = queues_of(connection, queued)
    for view in views:
        view["queue"] = queues.get(view["current_step"]["execution_id"]) if view["current_step"] else None
        view["waits_for"] = view["queue"].pop("because") if view["queue"] else None
        view["priority"] = list(Priority)[view["priority"]]


def _add_progress(connection: Connection, views: Sequence[View]) -> None:
    """Add how far the fetches of current steps have come; None for all steps but running clones."""
    current = [view["current_step"] for view in views if view["current_step"]]
    cloning = [step for step in current if step["run_reason"] == RunReason.CLONE and step["status"] == Status.RUNNING]
    progress = progress_of(connection, [step["execution_id"] for step in cloning])
    for step in current:
        step["progress"] = progress.get(step["execution_id"])


def _agent(steps: Sequence[Step]) -> Step | None:
    """Return the latest execution of a coding agent."""
    return next((step for step in reversed(steps) if step["run_reason"] == RunReason.CODING_AGENT), None)


def _timings(view: View, steps: Sequence[Step]) -> View:
    """Return how long the run waited, prepared and worked, in seconds; None while that is not known.

    The work begins when a worker takes the agent's latest execution or, without an agent, the first step.
    """
    begins = _agent(steps) if view["kind"] == "job" else next(iter(steps), None)
    began = None if begins is None else begins["started_at"]
    created, started, ended = view["created_at"], view["started_at"], view["completed_at"]
    return {
        "queue_seconds": _seconds(created, started),
        "start_seconds": _seconds(started, began),
        "run_seconds": _seconds(began, ended),
    }


def _seconds(start: Any, end: Any) -> float | None:
    return None if start is None or end is None else max(0.0, round((end - start).total_seconds(), 3))


def _repos(connection: Connection, workspace_ids: Sequence[UUID]) -> dict[UUID, list[tuple[UUID, View]]]:
    found: dict[UUID, list[tuple[UUID, View]]] = {}
    for row in connection.execute(_REPOS, {"workspaces": workspace_ids}).mappings():
        repo = {name: row[name] for name in _OF_REPO}
        found.setdefault(row["workspace_id"], []).append((row["repo_id"], repo))
    return found


def _starts(connection: Connection, run_ids: Sequence[UUID]) -> dict[tuple[UUID, UUID], str]:
    """Return the commit of HEAD before the first step of each run, by run and repo."""
    rows = connection.execute(_STARTS, {"runs": run_ids}) if run_ids else ()
    return {(row.run_id, row.repo_id): row.before_head_commit for row in rows}


def _source(view: View, repo: View, start: str | None) -> View:
    """Return where a repo of a run came from. A job starts where its branch does, a later run at HEAD before it."""
    commit = repo["base_commit"] if view["kind"] == RunKind.JOB else start
    return {"repo": repo["name"], **{name: repo[name] for name in ("url", "ref", "target_branch")}, "commit": commit}


def _stats(connection: Connection, run_ids: Sequence[UUID]) -> dict[tuple[UUID, UUID], View]:
    """Return the size of the diff of each run after its latest step that recorded one, by run and repo."""
    found = connection.execute(_STATS, {"runs": run_ids})
    rows = [(row.run_id, row.repo_id, row.stat.get("run", row.stat)) for row in found]
    return {
        (run_id, repo_id): {name: counts[name] for name in COUNTS}
        for run_id, repo_id, counts in rows
        if all(name in counts for name in COUNTS)
    }


def _sum(stats: Sequence[Mapping[str, int] | None]) -> View | None:
    known = [stat for stat in stats if stat is not None]
    return {name: sum(stat[name] for stat in known) for name in COUNTS} if known else None


def _usage(connection: Connection, run_ids: Sequence[UUID]) -> dict[UUID, dict[str, float]]:
    """Return totals over the agent turns of each run, by name of the measure (tokens, cost_usd, …)."""
    rows = connection.execute(_USAGE, {"ids": list(run_ids)})
    found: dict[UUID, dict[str, float]] = {}
    for row in rows:
        found.setdefault(row.run_id, {})[row.key] = row.total
    return found
