"""The reasons why queued executions wait, for any number of them with a fixed number of queries."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, bindparam, func, select, text
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
_ASKED = E.id.in_(bindparam("ids", expanding=True))
_OTHER = aliased(E)
_AHEAD = (
    select(E.id, func.count().label("ahead"))
    .join(_OTHER, (_OTHER.workspace_id == E.workspace_id) & (_OTHER.lane_position < E.lane_position))
    .where(_ASKED, E.run_reason != RunReason.DEV_SERVER)
    .where(_OTHER.status == Status.QUEUED, _OTHER.run_reason != RunReason.DEV_SERVER)
    .group_by(E.id)
)
_HOLDERS = (
    select(E.id, _OTHER.id)
    .join(Lane, (Lane.workspace_id == E.workspace_id) & (Lane.group_id != E.group_id))
    .join(_OTHER, (_OTHER.workspace_id == Lane.workspace_id) & (_OTHER.group_id == Lane.group_id))
    .where(_ASKED, E.run_reason != RunReason.DEV_SERVER, _OTHER.status == Status.RUNNING)
    .order_by(_OTHER.created_at, _OTHER.id)
)
_UNADMITTED = select(E.id, E.run_id).join(Run, Run.id == E.run_id).where(_ASKED, Run.admitted_at.is_(None))


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
    ahead = _ahead(connection, execution_ids)
    holders = _holders(connection, execution_ids)
    first = [one for one in execution_ids if not ahead.get(one) and not holders.get(one)]
    nodes = placement.why_each_waits(connection, first)
    admission = {**_not_admitted(connection, first), **clone_turns.waits(connection, first)}
    found = {}
    for one in execution_ids:
        wait = _lane(ahead.get(one, 0), holders.get(one, [])) or _because(nodes.get(one), admission.get(one))
        found[one] = {
            "ahead": ahead.get(one, 0),
            "waits_for": holders.get(one, []),
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
        kind = WaitKind.WORKSPACE if node == placement.STOPPED else WaitKind.NODE
        return Wait(kind, node)
    nodes_full = admission.limit in {LimitKind.POOL, LimitKind.NODE} and admission.kind is WaitKind.LIMIT
    return replace(admission, message=node) if nodes_full else admission


def _not_admitted(connection: Connection, execution_ids: Sequence[UUID]) -> Mapping[UUID, Wait]:
    """Return why the runs of executions are not admitted, by execution."""
    rows = connection.execute(_UNADMITTED, {"ids": execution_ids}).all() if execution_ids else []
    if not rows:
        return {}
    runs = facts.waiting(connection, [row.run_id for row in rows])
    waits = decide(runs, facts.situation(connection, runs), raise_seconds(connection)).waits
    return _with_names(connection, {row.id: waits[row.run_id] for row in rows if row.run_id in waits})


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


def _ahead(connection: Connection, execution_ids: Sequence[UUID]) -> dict[UUID, int]:
    return {row.id: row.ahead for row in connection.execute(_AHEAD, {"ids": execution_ids})}


def _holders(connection: Connection, execution_ids: Sequence[UUID]) -> dict[UUID, list[UUID]]:
    found: dict[UUID, list[UUID]] = {}
    for execution_id, holder_id in connection.execute(_HOLDERS, {"ids": execution_ids}):
        found.setdefault(execution_id, []).append(holder_id)
    return found
