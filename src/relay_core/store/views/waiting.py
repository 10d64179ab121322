"""The reasons why queued executions wait, for any number of them with a fixed number of queries."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any
from uuid import UUID

from sqlalchemy import ARRAY, Connection, Uuid, bindparam, case, func, select, text
from sqlalchemy.orm import aliased

from relay_core.domain.admission import LimitKind, Wait, WaitKind, decide
from relay_core.domain.vocabulary import RunReason, Status
from relay_core.store.admission import facts
from relay_core.store.admission.raising import raise_seconds
from relay_core.store.nodes import placement
from relay_core.store.projects import clone_turns
from relay_core.store.schema.tables import ExecutionProcess, Lane, Project, Run

E = ExecutionProcess
View = dict[str, Any]
_STARTS = text("SELECT starts_at_once(:execution)")
"""Answers for most new executions what else takes ten queries."""

# Built once: building a statement, with an alias above all, costs more than carrying it out.
_OTHER = aliased(E)
_AHEAD = (
    select(func.count())
    .select_from(_OTHER)
    .where(_OTHER.workspace_id == E.workspace_id, _OTHER.lane_position < E.lane_position)
    .where(_OTHER.status == Status.QUEUED, _OTHER.run_reason != RunReason.DEV_SERVER)
    .correlate(E)
)
_HOLDERS = (
    select(_OTHER.id)
    .select_from(Lane)
    .join(_OTHER, (_OTHER.workspace_id == Lane.workspace_id) & (_OTHER.group_id == Lane.group_id))
    .where(Lane.workspace_id == E.workspace_id, Lane.group_id != E.group_id, _OTHER.status == Status.RUNNING)
    .order_by(_OTHER.created_at, _OTHER.id)
    .correlate(E)
)
_IN_LANE = E.run_reason != RunReason.DEV_SERVER
_ASKED = (
    select(
        E.id,
        E.project_id,
        case((_IN_LANE, _AHEAD.scalar_subquery()), else_=0).label("ahead"),
        case((_IN_LANE, func.array(_HOLDERS.scalar_subquery(), type_=ARRAY(Uuid)))).label("holders"),
        Run.id.label("unadmitted"),
    )
    .outerjoin(Run, (Run.id == E.run_id) & Run.admitted_at.is_(None))
    .where(E.id.in_(bindparam("ids", expanding=True)))
)


def queues_of(connection: Connection, execution_ids: Sequence[UUID]) -> dict[UUID, View]:
    """Return what queued executions wait for, by id.

    `ahead` is the number of queued steps before it in the lane, `waits_for` are the running executions that hold the
    lane. Only if there are neither, `waits` says why no node can start it, or which limit holds its run back. `because`
    is the reason as the fields of a `Wait`; None if a worker is about to take it.
    """
    if not execution_ids:
        return {}
    if len(execution_ids) == 1 and connection.scalar(_STARTS, {"execution": execution_ids[0]}):
        return {execution_ids[0]: {"ahead": 0, "waits_for": [], "waits": None, "because": None}}
    asked = {row.id: row for row in connection.execute(_ASKED, {"ids": execution_ids})}
    first = [row for row in asked.values() if not row.ahead and not row.holders]
    nodes = placement.why_each_waits(connection, [row.id for row in first])
    runs = {row.id: row.unadmitted for row in first if row.unadmitted is not None}
    clones = [row.id for row in first if row.project_id is not None]
    admission = {**_not_admitted(connection, runs), **clone_turns.waits(connection, clones)}
    found = {}
    for one, row in asked.items():
        holders = list(row.holders or ())
        wait = _lane(row.ahead, holders) or _because(nodes.get(one), admission.get(one))
        found[one] = {
            "ahead": row.ahead,
            "waits_for": holders,
            "waits": None if wait is None or wait.kind is WaitKind.LANE else wait.message,
            "because": None if wait is None else asdict(wait),
        }
    return found


def _lane(ahead: int, holders: Sequence[UUID]) -> Wait | None:
    if not ahead and not holders:
        return None
    return Wait(WaitKind.LANE, "other steps of the workspace have to end first", executions=holders)


def _because(node: str | None, admission: Wait | None) -> Wait | None:
    """Return the reason to show: that of the admission, with the more exact text where no node can take the run."""
    if node is None:
        return admission
    if admission is None or admission.kind is WaitKind.NODE:
        kind = WaitKind.WORKSPACE if node in {placement.STOPPED, placement.DIVERGED} else WaitKind.NODE
        return Wait(kind, node)
    nodes_full = admission.limit in {LimitKind.POOL, LimitKind.NODE} and admission.kind is WaitKind.LIMIT
    return replace(admission, message=node) if nodes_full else admission


def _not_admitted(connection: Connection, unadmitted: Mapping[UUID, UUID]) -> Mapping[UUID, Wait]:
    """Return why runs are not admitted, by the execution whose run each is."""
    if not unadmitted:
        return {}
    runs = facts.waiting(connection, list(unadmitted.values()))
    waits = decide(runs, facts.situation(connection, runs), raise_seconds(connection)).waits
    return _with_names(connection, {one: waits[run_id] for one, run_id in unadmitted.items() if run_id in waits})


def _with_names(connection: Connection, waits: dict[UUID, Wait]) -> dict[UUID, Wait]:
    """Return the reasons with the names of projects, for people, in their messages."""
    ids = {UUID(wait.name) for wait in waits.values() if wait.limit is LimitKind.PROJECT and wait.name}
    rows = connection.execute(select(Project.id, Project.name).where(Project.id.in_(ids))) if ids else ()
    found = dict(waits)
    for row in rows:
        for one, wait in waits.items():
            if wait.name == str(row.id):
                found[one] = replace(wait, message=wait.message.replace(wait.name, row.name))
    return found
