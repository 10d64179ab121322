"""Tables of nodes, of the incarnations of their workers, and of sweeps for all nodes."""

from datetime import datetime
from typing import Any

from sqlalchemy import CheckConstraint, ForeignKey, func, text
from sqlalchemy.orm import Mapped, mapped_column

from relay_core.domain.vocabulary import Liveness, NodeHealth
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
    created_at: Mapped[datetime] = created()

    __table_args__ = (
        one_of("reported_health", NodeHealth, "runtime_nodes_reported_health"),
        one_of("liveness", Liveness, "runtime_nodes_liveness"),
        CheckConstraint("draining OR revoked_at IS NULL", name="runtime_nodes_revoked"),
        {"postgresql_with": {"fillfactor": 50}},
    )


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

    __table_args__ = ({"postgresql_with": {"fillfactor": 50}},)


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
