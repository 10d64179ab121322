"""Reasons for which Relay does not touch a workspace by itself: work that goes on, waits, or is not merged yet."""

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import ARRAY, Connection, Uuid, bindparam, text


@dataclass(frozen=True)
class Note:
    """A reason against an act."""

    code: str
    message: str


_EXECUTIONS = "SELECT e.id FROM execution_processes e WHERE e.workspace_id = w.id AND e.status IN ('queued', 'running')"
_LEFTOVERS = "SELECT e.id FROM execution_processes e WHERE e.workspace_id = w.id AND e.leftover_on IS NOT NULL"
_PULL_REQUESTS = "SELECT m.id FROM merges m WHERE m.workspace_id = w.id AND m.pr_status = 'open'"
_LIVE_LEASE = "(d.state = 'active' OR (d.state = 'reserved' AND d.expires_at > now()))"
_LEASED = f"SELECT d.id FROM scope_delegations d WHERE d.parent_workspace_id = w.id AND {_LIVE_LEASE}"  # noqa: S608
_LEASING = f"SELECT d.id FROM scope_delegations d WHERE d.child_workspace_id = w.id AND {_LIVE_LEASE}"  # noqa: S608
_EACH = (_EXECUTIONS, _LEFTOVERS, _PULL_REQUESTS, _LEASED, _LEASING)
BLOCKED = "(" + " OR ".join(f"EXISTS ({each})" for each in _EACH) + ")"
"""SQL condition of a row `w` of `workspaces`: something speaks against each act."""
_COUNTS = text(
    f"""
    SELECT coalesce(sum((SELECT count(*) FROM ({_EXECUTIONS}) AS x)), 0)::bigint AS executions,
      coalesce(sum((SELECT count(*) FROM ({_LEFTOVERS}) AS x)), 0)::bigint AS left_over,
      coalesce(sum((SELECT count(*) FROM ({_PULL_REQUESTS}) AS x)), 0)::bigint AS pull_requests,
      coalesce(sum((SELECT count(*) FROM ({_LEASED}) AS x)), 0)::bigint AS leased,
      coalesce(sum((SELECT count(*) FROM ({_LEASING}) AS x)), 0)::bigint AS leasing
    FROM workspaces w WHERE w.id = ANY(:ids)
    """  # noqa: S608 - nothing of a client's
).bindparams(bindparam("ids", type_=ARRAY(Uuid())))
_TOLD = (
    ("executions", "executions_active", "{} executions are queued or running"),
    ("left_over", "processes_left", "processes of {} ended executions may still run"),
    ("pull_requests", "pull_request_open", "{} pull requests are open"),
    ("leased", "delegation_live", "{} workspaces of subtasks hold a lease"),
    ("leasing", "delegation_live", "{} leases of other workspaces are held"),
)
_UNMERGED = frozenset({"pull_request_open", "delegation_live"})


def of_workspaces(connection: Connection, ids: Sequence[UUID]) -> list[Note]:
    """Return the reasons for which Relay neither stops, archives nor deletes some workspaces by itself."""
    row = connection.execute(_COUNTS, {"ids": list(ids)}).mappings().one()
    return [Note(code, message.format(row[key])) for key, code, message in _TOLD if row[key]]


def unmerged(connection: Connection, ids: Sequence[UUID]) -> list[Note]:
    """Return those of the reasons that concern work which is not merged yet."""
    return [note for note in of_workspaces(connection, ids) if note.code in _UNMERGED]
