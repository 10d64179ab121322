"""Tables of nodes, of the incarnations of their workers, and of sweeps for all nodes."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import CheckConstraint, ForeignKey, Index, UniqueConstraint, func, text
from sqlalchemy.orm import Mapped, mapped_column

from relay_core.domain.vocabulary import AttachmentState, Liveness, NodeHealth
from relay_core.store.schema.base import Base, created, one_of


class RuntimeNode(Base):
    """A host with a container engine and one or more workers."""

    __tablename__ = "runtime_nodes"

    node_id: Mapped[str] = mapped_column(primary_key=True)
    pool: Mapped[str]
    reported_health: Mapped[str] = mapped_column(server_default=NodeHealth.OK)
    """The node's report on its own health; only its heartbeat writes it."""
    liveness: Mapped[str] = mapped_column(server_default=Liveness.ONLINE)
    """Whether the node is alive: only the presence sweep lowers it, only a heartbeat raises it."""
    last_heartbeat_at: Mapped[datetime | None]
    client_version: Mapped[str | None]
    capabilities: Mapped[dict[str, Any]] = mapped_column(server_default=text("'{}'::jsonb"))
    declares: Mapped[list[str]] = mapped_column(server_default=text("'{}'"))
    """Capabilities that its operator declares, for runs that need them."""
    draining: Mapped[bool] = mapped_column(server_default=text("false"))
    """Whether it takes no new workspaces; also true if it is revoked."""
    revoked_at: Mapped[datetime | None]
    """Since when it starts nothing and takes nothing over; null: it is not revoked."""
    max_workspaces: Mapped[int | None]
    """Most workspaces in which steps may run at once, written by a worker at its start; null: no limit is known."""
    memory_bytes: Mapped[int | None]
    """Most bytes that the memory limits of these workspaces may add up to; null: no limit is known."""
    pids: Mapped[int | None]
    """Most processes and threads that the limits of these workspaces may add up to; null: no limit is known."""
    epoch: Mapped[int] = mapped_column(server_default=text("1"))
    """Grows each time the node went offline and the reaper ended its executions."""
    reaped_at: Mapped[datetime | None]
    registering: Mapped[bool] = mapped_column(server_default=text("false"))
    """Whether its attachment is `registering`: a trigger ends both at the next heartbeat of a healthy node."""
    created_at: Mapped[datetime] = created()

    __table_args__ = (
        one_of("reported_health", NodeHealth, "runtime_nodes_reported_health"),
        one_of("liveness", Liveness, "runtime_nodes_liveness"),
        CheckConstraint("draining OR revoked_at IS NULL", name="runtime_nodes_revoked"),
        {"postgresql_with": {"fillfactor": 10}},
    )


class NodeAttachment(Base):
    """The attachment of a node to a pool; a node has at most one that is active.

    A trigger makes the first one with the row of the node. `read_only` is stored nowhere: it follows from the versions.
    """

    __tablename__ = "runtime_node_attachments"

    id: Mapped[UUID] = mapped_column(primary_key=True, server_default=func.gen_random_uuid())
    node_id: Mapped[str] = mapped_column(ForeignKey("runtime_nodes.node_id", ondelete="CASCADE"))
    pool: Mapped[str]
    state: Mapped[str] = mapped_column(server_default=AttachmentState.REGISTERING)
    state_reason: Mapped[str | None]
    """Why it is degraded, as a clause for people."""
    revoked_from: Mapped[str | None]
    """State that it had when its node was revoked, and has again when the node is restored."""
    protocol_version: Mapped[str] = mapped_column(server_default="1.0")
    """MAJOR.MINOR of what its workers and the server tell each other."""
    capabilities: Mapped[dict[str, Any]] = mapped_column(server_default=text("'{}'::jsonb"))
    """The capabilities that the node declares."""
    attached_by: Mapped[str | None]
    """Owner of the token that attached it; null: a worker of the node did."""
    attached_at: Mapped[datetime] = created()
    """When it was attached for the first time."""
    updated_at: Mapped[datetime] = created()

    __table_args__ = (
        one_of("state", AttachmentState, "runtime_node_attachments_state"),
        UniqueConstraint("node_id", "pool", name="runtime_node_attachments_pool"),
        Index(
            "runtime_node_attachments_active",
            "node_id",
            unique=True,
            postgresql_where=text("state IN ('registering', 'online', 'degraded')"),
        ),
    )


class NodePool(Base):
    """A pool that demands something of its nodes; a pool without demands has no row."""

    __tablename__ = "node_pools"

    pool: Mapped[str] = mapped_column(primary_key=True)
    min_protocol_version: Mapped[str | None]
    """Its floor: nodes below it start nothing. Null: there is none."""
    updated_at: Mapped[datetime] = created()


class Incarnation(Base):
    """One life of a worker process, with the lease on all executions that it owns.

    Renewals write these rows all the time. There is no index but the primary key, so a renewal can write the row's new
    version into the same page.
    """

    __tablename__ = "incarnations"

    owner: Mapped[str] = mapped_column(primary_key=True)
    """``<worker>#<life>``, as in `execution_processes.owner`."""
    node_id: Mapped[str | None] = mapped_column(ForeignKey("runtime_nodes.node_id"))
    """Null: the row was made for an owner of which only the name was known."""
    lease_until: Mapped[datetime]
    taken_at: Mapped[datetime]
    """When another worker last took an execution from it; before that, when the row was made."""

    __table_args__ = ({"postgresql_with": {"fillfactor": 10}},)


class PresenceSweep(Base):
    """One row: when the last presence sweep ran, and when the last outage without sweeps ended.

    The presence sweep is a periodic check by the workers which nodes have stopped sending heartbeats.
    """

    __tablename__ = "presence_sweeps"

    single: Mapped[bool] = mapped_column(primary_key=True, server_default=text("true"))
    swept_at: Mapped[datetime] = mapped_column(server_default=func.now())
    resumed_at: Mapped[datetime] = mapped_column(server_default=func.now())

    __table_args__ = (CheckConstraint("single", name="presence_sweeps_single"),)


class SweepTurn(Base):
    """The turn of a sweep that one worker at a time does for all nodes."""

    __tablename__ = "sweep_turns"

    sweep: Mapped[str] = mapped_column(primary_key=True)
    taken_at: Mapped[datetime]
