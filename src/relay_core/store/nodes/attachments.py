"""Attachments of nodes to pools: attach, declare capabilities, detach. All times are on the clock of Postgres.

The transactions lock the row of the node first, as claims and revocations do, then its attachments. That a node has at
most one active attachment is enforced by an index of the database.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, RowMapping, Select, func, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.exc import IntegrityError

from relay_core.domain.attachment import FLOOR_EXCEEDED, PROTOCOL, Slot, is_below, why_invalid
from relay_core.domain.errors import Conflict, NotFound
from relay_core.domain.events import EventKind
from relay_core.domain.operations import OperationKind, SubjectKind
from relay_core.domain.vocabulary import ACTIVE_ATTACHMENTS, AttachmentState, Liveness, SelfReport
from relay_core.store import operations
from relay_core.store.operations import Subject
from relay_core.store.schema.tables import NodeAttachment, NodePool, RuntimeNode

A, N = NodeAttachment, RuntimeNode
ACTIVE_INDEX = "runtime_node_attachments_active"
"""The unique index of active attachments; only its violation is a conflict of attachments."""
UPDATE_CONFLICT = "runtimenode.capabilityupdate_conflict"
_ACTIVE = A.state.in_(ACTIVE_ATTACHMENTS)
_SHOWN = [column for column in A.__table__.columns if column.name != "revoked_from"]
_ALL = select(*_SHOWN, NodePool.min_protocol_version).outerjoin(NodePool, NodePool.pool == A.pool)


@dataclass(frozen=True)
class Attachment:
    """One row of `runtime_node_attachments`, with the floor of its pool."""

    id: UUID
    node_id: str
    pool: str
    state: AttachmentState
    state_reason: str | None
    protocol_version: str
    min_protocol_version: str | None
    capabilities: Mapping[str, Any]
    attached_by: str | None
    attached_at: datetime
    updated_at: datetime

    @classmethod
    def from_row(cls, row: RowMapping) -> "Attachment":
        """Make the value from a row of `_ALL`."""
        state = AttachmentState(row["state"])
        why = None if state is AttachmentState.REVOKED else row["state_reason"]
        return cls(**{**row, "state": state, "state_reason": why})

    @property
    def slot(self) -> Slot:
        """The facts that decide about starts."""
        return Slot(self.pool, self.state, self.state_reason, self.protocol_version, self.min_protocol_version)

    @property
    def read_only(self) -> bool:
        """Whether the node starts nothing because of the floor of the pool; computed at each use, stored nowhere."""
        return self.slot.read_only

    def check_floor(self) -> bool:
        """Return whether the node is below the floor of the pool.

        Raises:
            VersionMalformed: the stored floor or version is not MAJOR.MINOR.
        """
        return is_below(self.protocol_version, self.min_protocol_version)


@dataclass(frozen=True)
class Attaching:
    """A request to attach a node."""

    node_id: str
    pool: str
    protocol_version: str
    capabilities: Mapping[str, Any]
    by: str | None = None
    """Owner of the token that asks."""


def attach(connection: Connection, asked: Attaching) -> Attachment:
    """Attach a node to a pool, and make the node if it is unknown.

    The attachment is `registering` until the node's next heartbeat that says `online`; with a declaration that is not
    valid it is `degraded`. A repeated attachment keeps its id and the time of the first one.

    Raises:
        Conflict: `runtimenode.attach_conflict`: the node is attached elsewhere; `runtimenode.attach_revoked`.
        VersionMalformed: the floor of the pool is not MAJOR.MINOR; nothing is admitted.
    """
    invalid = why_invalid(asked.capabilities)
    declares = [] if invalid else sorted(set(asked.capabilities.get("declares", [])))
    new = insert(N).values(node_id=asked.node_id, pool=asked.pool, liveness=Liveness.OFFLINE, registering=True)
    connection.execute(new.on_conflict_do_nothing())
    if _lock(connection, asked.node_id):
        raise _revoked(asked.node_id)
    state = AttachmentState.REGISTERING if invalid is None else AttachmentState.DEGRADED
    made = _upsert(connection, asked, state, invalid)
    found = _one(connection, A.id == made)
    assert found is not None  # noqa: S101 - it was written above
    found.check_floor()  # a malformed one admits nothing
    values = {"declares": declares, "registering": state is AttachmentState.REGISTERING}
    connection.execute(update(N).where(N.node_id == asked.node_id).values(values))
    payload = {"node_id": asked.node_id, "pool": asked.pool}
    kind, event = OperationKind.NODE_ATTACH, EventKind.NODE_ATTACHED
    operations.record(connection, kind, subject_of(asked.node_id), event, payload)
    return found


def attach_worker(connection: Connection, node_id: str, pool: str, declares: Sequence[str]) -> bool:
    """Attach the node of a worker that starts, unless it is attached to the pool already or revoked.

    The workers of a node are one attachment: each declares the same, and the second one changes nothing. A node that
    was detached, or degraded, is `registering` afterwards.

    Returns:
        Whether a detached node was attached again.

    Raises:
        Conflict: `runtimenode.attach_conflict`: the node is attached to another pool.
    """
    if _lock(connection, node_id):
        return False
    was = connection.scalar(select(A.state).where(A.node_id == node_id, A.pool == pool))
    known = was in {AttachmentState.REGISTERING, AttachmentState.ONLINE}
    state = AttachmentState(was) if known and was is not None else AttachmentState.REGISTERING
    _upsert(connection, Attaching(node_id, pool, PROTOCOL, {"declares": list(declares)}), state, None)
    if state is AttachmentState.REGISTERING:
        connection.execute(update(N).where(N.node_id == node_id).values(registering=True))
    return was == AttachmentState.OFFLINE


def update_capabilities(
    connection: Connection,
    node_id: str,
    capabilities: Mapping[str, Any],
    change: SelfReport | None = None,
    reason: str | None = None,
) -> Attachment:
    """Replace what a node declares, and let it say of itself that it is degraded.

    This never makes a registering node online: its next heartbeat does. A degraded node with a valid declaration is
    registering again; a declaration that is not valid makes the node degraded.

    Raises:
        NotFound: there is no such node.
        Conflict: `runtimenode.capabilityupdate_conflict`: it has no active attachment, or it is registering and its
            state was to be changed; `version.floor_exceeded`: it is below the floor of its pool.
        VersionMalformed: the floor of the pool is not MAJOR.MINOR.
    """
    if _lock(connection, node_id):
        raise _revoked(node_id)
    found = _one(connection, (A.node_id == node_id) & _ACTIVE)
    if found is None:
        message = f"node {node_id} has no active attachment: attach it first"
        raise Conflict(message, code=UPDATE_CONFLICT)
    if found.check_floor():
        message = f"node {node_id} is below the lowest protocol version of its pool: update Relay on it"
        raise Conflict(message, code=FLOOR_EXCEEDED)
    invalid = why_invalid(capabilities)
    if change is not None and found.state is AttachmentState.REGISTERING and invalid is None:
        message = f"node {node_id} is registering: a heartbeat decides about its state, no declaration does"
        raise Conflict(message, code=UPDATE_CONFLICT)
    state, why = _declared(found, change, invalid, reason)
    values = {"capabilities": dict(capabilities), "state": state, "state_reason": why, "updated_at": func.now()}
    connection.execute(update(A).where(A.id == found.id).values(values))
    declares = [] if invalid else sorted(set(capabilities.get("declares", [])))
    registering = state is AttachmentState.REGISTERING
    connection.execute(update(N).where(N.node_id == node_id).values(declares=declares, registering=registering))
    payload = {"node_id": node_id, "state": state, "why": why}
    kind, event = OperationKind.NODE_CAPABILITIES, EventKind.NODE_CAPABILITIES_UPDATED
    operations.record(connection, kind, subject_of(node_id), event, payload)
    updated = _one(connection, A.id == found.id)
    assert updated is not None  # noqa: S101 - its row is locked
    return updated


def _declared(
    found: Attachment, change: SelfReport | None, invalid: str | None, reason: str | None
) -> tuple[AttachmentState, str | None]:
    if invalid is not None:
        return AttachmentState.DEGRADED, invalid
    if change is SelfReport.DEGRADED:
        return AttachmentState.DEGRADED, reason or "it says so itself"
    if found.state is AttachmentState.DEGRADED:
        return AttachmentState.REGISTERING, None
    return found.state, None


def detach(connection: Connection, node_id: str, by: str | None, reason: str | None = None) -> bool:
    """Detach a node from its pool: it gets no work any more, and what it runs goes on. Presence is offline at once.

    A worker of the node that lives says that it does with its next heartbeat; the attachment stays offline.

    Returns:
        Whether it was attached; a revoked node stays revoked.

    Raises:
        NotFound: there is no such node.
    """
    _lock(connection, node_id)
    values = {"state": AttachmentState.OFFLINE, "state_reason": None, "updated_at": func.now()}
    active = update(A).where(A.node_id == node_id, _ACTIVE).values(values).returning(A.pool)
    pool = connection.scalar(active)
    if pool is None:
        return False
    away = {"liveness": Liveness.OFFLINE, "registering": False}
    connection.execute(update(N).where(N.node_id == node_id).values(away))
    payload = {"node_id": node_id, "pool": pool, "by": by, "why": reason}
    operations.record(connection, OperationKind.NODE_DETACH, subject_of(node_id), EventKind.NODE_DETACHED, payload)
    return True


def end_all(connection: Connection, node_id: str) -> None:
    """Mark all attachments of a node as revoked. The caller has locked the node's row and marks it, too."""
    values = {"state": AttachmentState.REVOKED, "revoked_from": A.state, "updated_at": func.now()}
    connection.execute(update(A).where(A.node_id == node_id, A.state != AttachmentState.REVOKED).values(values))


def restore(connection: Connection, node_id: str) -> None:
    """Undo `end_all`: each attachment has the state again that it had before.

    Where that is not known, because an older release revoked the node, the attachment to the pool whose queue the node
    consumes is online, others are offline.
    """
    serving = A.pool == select(N.pool).where(N.node_id == node_id).scalar_subquery()
    mine = (A.node_id == node_id) & (A.state == AttachmentState.REVOKED)
    for which, state in ((serving, AttachmentState.ONLINE), (~serving, AttachmentState.OFFLINE)):
        values = {"state": func.coalesce(A.revoked_from, state), "revoked_from": None, "updated_at": func.now()}
        connection.execute(update(A).where(mine, which).values(values))
    registering = select(A.id).where(A.node_id == node_id, A.state == AttachmentState.REGISTERING).exists()
    connection.execute(update(N).where(N.node_id == node_id).values(registering=registering))


def subject_of(node_id: str) -> Subject:
    """Return a node as the subject of events, which admins may read."""
    return Subject(SubjectKind.NODE, node_id)


def slot_of(connection: Connection, node_id: str) -> Slot | None:
    """Return what decides about starts on a node; None: it has no active attachment."""
    found = _one(connection, (A.node_id == node_id) & _ACTIVE)
    return None if found is None else found.slot


def all_by_node(connection: Connection, *only: str) -> dict[str, list[Attachment]]:
    """Return the attachments of nodes by node, the active one first. Without ids of nodes: of all."""
    found: Select[Any] = _ALL.order_by(A.node_id, _ACTIVE.desc(), A.attached_at.desc())
    rows = connection.execute(found.where(A.node_id.in_(only)) if only else found).mappings()
    by_node: dict[str, list[Attachment]] = {}
    for row in rows:
        by_node.setdefault(row["node_id"], []).append(Attachment.from_row(row))
    return by_node


def _one(connection: Connection, which: Any) -> Attachment | None:
    row = connection.execute(_ALL.where(which)).mappings().one_or_none()
    return None if row is None else Attachment.from_row(row)


def _lock(connection: Connection, node_id: str) -> bool:
    """Lock a node, so that claims of it come before or after this transaction; return whether it is revoked."""
    row = connection.execute(select(N.revoked_at).where(N.node_id == node_id).with_for_update()).one_or_none()
    if row is None:
        raise NotFound(f"there is no node {node_id}")
    return row.revoked_at is not None


def _revoked(node_id: str) -> Conflict:
    message = f"node {node_id} is revoked: an operator has to restore it (`relay revoke {node_id} --undo`)"
    return Conflict(message, code="runtimenode.attach_revoked")


def _upsert(connection: Connection, asked: Attaching, state: AttachmentState, why: str | None) -> UUID:
    """Write an attachment that becomes active, and return its id.

    Raises:
        Conflict: the node has another active attachment.
    """
    said = {
        "state": state,
        "state_reason": why,
        "protocol_version": asked.protocol_version,
        "capabilities": dict(asked.capabilities),
        "updated_at": func.now(),
    }
    new = insert(A).values(node_id=asked.node_id, pool=asked.pool, attached_by=asked.by, **said)
    statement = new.on_conflict_do_update(index_elements=[A.node_id, A.pool], set_=said).returning(A.id)
    try:
        return connection.execute(statement).scalar_one()
    except IntegrityError as error:
        constraint = getattr(getattr(error.orig, "diag", None), "constraint_name", None)
        if constraint != ACTIVE_INDEX:
            raise
        message = f"node {asked.node_id} is attached elsewhere: detach it there first (`relay nodes detach`)"
        raise Conflict(message, code="runtimenode.attach_conflict") from None
