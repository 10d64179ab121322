"""The git state of workspaces as the API shows it: what was recorded last, and what their nodes found since."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import ARRAY, Connection, RowMapping, Uuid, bindparam, text

from relay_core.domain.vocabulary import GitState
from relay_core.store.tokens import Principal
from relay_core.store.workspaces import condition
from relay_core.store.workspaces.generation import generation

View = dict[str, Any]
_STATES = text(
    """
    SELECT r.workspace_id, r.repo_id, r.name, r.found_state, r.found_commit, r.found_from, r.found_problem, r.found_at,
      r.accepted_commit, r.accepted_group = last.group_id AS accepted, recorded.head, known.dirty
    FROM workspace_repos r
    LEFT JOIN LATERAL (
      SELECT s.after_head_commit AS head FROM execution_processes e JOIN execution_process_repo_states s
        ON s.execution_process_id = e.id AND s.repo_id = r.repo_id
      WHERE e.workspace_id = r.workspace_id AND e.run_reason <> 'dev_server' AND s.after_head_commit IS NOT NULL
        AND s.after_state IN ('recorded', 'recorded_late')
      ORDER BY e.created_at DESC, e.id DESC LIMIT 1) AS recorded ON true
    LEFT JOIN LATERAL (
      SELECT e.group_id FROM execution_processes e
      WHERE e.workspace_id = r.workspace_id AND e.started_at IS NOT NULL AND e.run_reason <> 'dev_server'
      ORDER BY e.lane_position DESC, e.started_at DESC LIMIT 1) AS last ON true
    LEFT JOIN LATERAL (
      SELECT s.dirty FROM execution_processes e JOIN execution_process_repo_states s
        ON s.execution_process_id = e.id AND s.repo_id = r.repo_id
      WHERE e.workspace_id = r.workspace_id AND s.dirty IS NOT NULL AND s.after_state IN ('recorded', 'recorded_late')
      ORDER BY e.created_at DESC, e.id DESC LIMIT 1) AS known ON true
    WHERE r.workspace_id = ANY(:ids) ORDER BY r.workspace_id, r.position
    """
).bindparams(bindparam("ids", type_=ARRAY(Uuid())))
_WORST = (GitState.DIVERGED, GitState.MISSING, GitState.DIRTY, GitState.CLEAN)


def states_of(connection: Connection, ids: Sequence[UUID]) -> dict[UUID, list[View]]:
    """Return the git state of each clone of some workspaces, by workspace, with a fixed number of queries."""
    found: dict[UUID, list[View]] = {}
    rows = connection.execute(_STATES, {"ids": list(ids)}).mappings() if ids else ()
    for row in rows:
        recorded = row["accepted_commit"] if row["accepted"] else row["head"]
        found.setdefault(row["workspace_id"], []).append(
            {
                "repo_id": row["repo_id"],
                "name": row["name"],
                "git_state": _state(row),
                "recorded_commit": row["found_from"] if row["found_at"] else recorded,
                "head_commit": row["found_commit"] if row["found_state"] else recorded,
                "problem": row["found_problem"] if row["found_state"] else None,
                "found_at": row["found_at"],
            }
        )
    return found


def worst(states: Sequence[View]) -> GitState | None:
    """Return the state of a workspace: that of the clone that needs most attention; None if no clone has one yet."""
    had = {state["git_state"] for state in states}
    return next((state for state in _WORST if state in had), None)


def git_state(connection: Connection, workspace_id: UUID, principal: Principal) -> View:
    """Return the git state of one workspace, with its generation.

    Raises:
        NotFound: there is no such workspace, it is deleted, or it belongs to another owner.
    """
    found = condition.read_for(connection, workspace_id, principal)
    repos = states_of(connection, [workspace_id]).get(workspace_id, [])
    return {
        "workspace_id": workspace_id,
        "generation": generation(connection, workspace_id),
        "git_state": worst(repos),
        "acknowledgement_needed": found.diverged,
        "repos": repos,
    }


def _state(row: RowMapping) -> GitState | None:
    if row["found_state"] is not None:
        return GitState(row["found_state"])
    if row["head"] is None and not row["accepted"]:
        return None
    return GitState.DIRTY if row["dirty"] else GitState.CLEAN
