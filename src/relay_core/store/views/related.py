"""Chooses a resource from the id of a related one: one that it belongs to, or one that belongs to it."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Connection, Select, case, select
from sqlalchemy.orm import InstrumentedAttribute, aliased

from relay_core.domain.vocabulary import RunReason, RunStatus, Status
from relay_core.store.schema.tables import ExecutionProcess, Run, Session, Workspace
from relay_core.store.tokens import Principal
from relay_core.store.views.found_rows import MOST, Found, Kind, read, workspaces

E = ExecutionProcess
Meant = UUID | list[Found]
"""The id of the chosen resource; or, if the choice is open, the rows to choose from; an empty list if there is none."""
_BESIDE_THE_LANE = (RunReason.DEV_SERVER, RunReason.ARCHIVE_SCRIPT)


class Aim(StrEnum):
    """The rule by which one execution or run is chosen if a resource has several.

    Dev servers and archive scripts are chosen only if there are no other executions.
    """

    AGENT = "agent"
    """The newest execution of a coding agent, or the newest execution if there is none; of runs, the newest run."""
    ACTIVE = "active"
    """The running execution or run, else the next one in the queue, else as `AGENT`."""
    FAILED = "failed"
    """The newest failed or killed execution or run that was not retried, else the newest."""


def meant_by(connection: Connection, kind: Kind, row: Found, principal: Principal, aim: Aim) -> Meant:
    """Return the resource of a kind for which the id of a related row stands."""
    if row.kind is kind:
        return row.id
    if kind in row.above:
        return row.above[kind]
    if row.kind is Kind.TASK:
        attempts = _attempts(connection, row.id, principal)
        return meant_by(connection, kind, attempts[0], principal, aim) if len(attempts) == 1 else attempts
    newest = _newest(kind, row, aim)
    return [] if newest is None else connection.scalar(newest) or []


def _newest(kind: Kind, row: Found, aim: Aim) -> Select[Any] | None:
    """Return the statement that chooses one of a row's resources of a kind; None: it can have none."""
    if kind is Kind.EXECUTION and row.kind in _SCOPES:
        return _execution(_SCOPES[row.kind] == row.id, aim)
    if kind is Kind.RUN and row.kind in _RUN_SCOPES:
        return _run(_RUN_SCOPES[row.kind] == row.id, aim)
    if kind is Kind.SESSION and row.kind is Kind.WORKSPACE:
        sessions = select(Session.id).where(Session.workspace_id == row.id)
        return sessions.order_by(Session.created_at.desc(), Session.id).limit(1)
    return None


_SCOPES: Mapping[Kind, InstrumentedAttribute[Any]] = {
    Kind.WORKSPACE: E.workspace_id,
    Kind.SESSION: E.session_id,
    Kind.RUN: E.run_id,
    Kind.PROJECT: E.project_id,
}
_RUN_SCOPES: Mapping[Kind, InstrumentedAttribute[UUID]] = {
    Kind.WORKSPACE: Run.workspace_id,
    Kind.SESSION: Run.session_id,
}


def _attempts(connection: Connection, task_id: UUID, principal: Principal) -> list[Found]:
    found = read(connection, workspaces(principal.only).where(Workspace.task_id == task_id).limit(MOST))
    return [attempt for attempt in found if not attempt.gone] or found


def _run(scope: ColumnElement[bool], aim: Aim) -> Select[Any]:
    rank = case((Run.status == RunStatus.RUNNING, 0), (Run.status == RunStatus.QUEUED, 1), else_=2)
    order = [rank, case((Run.status == RunStatus.QUEUED, Run.created_at))] if aim is Aim.ACTIVE else []
    return select(Run.id).where(scope).order_by(*order, Run.created_at.desc(), Run.id).limit(1)


def _execution(scope: ColumnElement[bool], aim: Aim) -> Select[Any]:
    agent_first = case((E.run_reason == RunReason.CODING_AGENT, 0), else_=1)
    again = aliased(E)
    retried = select(again.id).where(again.retry_of == E.id).exists()
    first: dict[Aim, list[ColumnElement[Any]]] = {
        Aim.AGENT: [agent_first],
        Aim.ACTIVE: [
            case((E.status == Status.RUNNING, 0), (E.status == Status.QUEUED, 1), else_=2),
            case((E.status == Status.QUEUED, E.lane_position), else_=0),
            agent_first,
        ],
        Aim.FAILED: [case((E.status.in_((Status.FAILED, Status.KILLED)) & ~retried, 0), else_=1)],
    }
    order = [case((E.run_reason.in_(_BESIDE_THE_LANE), 1), else_=0), *first[aim], E.created_at.desc(), E.id]
    return select(E.id).where(scope).order_by(*order).limit(1)
