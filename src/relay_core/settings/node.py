"""Settings of a node (a host with workers): capacity, heartbeats and disk space."""

import re

from pydantic import Field, ValidationInfo, field_validator

from relay_core.domain.nodes import Bounds
from relay_core.settings.base import SettingsGroup, Words

_CAPABILITY = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")


class NodeSettings(SettingsGroup):
    """How much work a node takes, when it counts as degraded or offline, and how much of its disk stays free."""

    pool: str = Field(
        "default",
        pattern=r"^[a-z0-9-]{1,40}$",
        description="Pool whose shared queue this node serves, and into which an API with this setting puts new "
        "workspaces.",
    )
    worker_concurrency: int | None = Field(
        None,
        ge=1,
        le=1000,
        description="Executions that one worker carries out at once. Unset, it follows from memory and processors of "
        "the host.",
    )
    worker_http_host: str = Field("127.0.0.1", description="Address of a worker's pages `/healthz` and `/metrics`.")
    worker_http_port: int | None = Field(
        None, ge=0, le=65535, description="TCP port of those pages; unset, the worker serves no pages."
    )
    node_max_workspaces: int = Field(
        50,
        ge=1,
        description="Most workspaces of this node in which a chain of steps is under way. Further ones wait in the "
        "queue.",
    )
    node_memory_bytes: int | None = Field(
        None,
        ge=64 << 20,
        description="Bytes that the memory limits of those workspaces may have together. Unset, the memory of the "
        "host.",
    )
    node_pids: int | None = Field(
        None,
        ge=64,
        description="Processes and threads that `limits.pids` of those workspaces may have together. Unset, three "
        "quarters of those that the host can have.",
    )
    node_capabilities: Words = Field(
        (),
        description="Capabilities that this node declares, such as `gpu,kvm`. Runs with `needs` start only on nodes "
        "that declare all of them.",
    )
    node_heartbeat_seconds: float = Field(
        15, ge=0.1, le=600, description="Seconds between two heartbeats of a node. Set the same value on every node."
    )
    node_degraded_seconds: float = Field(
        30,
        ge=0.1,
        le=3600,
        description="Seconds without a heartbeat after which a node counts as `degraded`; longer than the heartbeat's.",
    )
    node_offline_seconds: float = Field(
        60,
        ge=0.1,
        le=24 * 3600,
        description="Seconds without a heartbeat after which a node counts as `offline` and its executions are ended "
        "as `node_lost`. Raise it where networks are interrupted for longer.",
    )
    node_gone_days: float = Field(
        7,
        ge=0.01,
        le=3650,
        description="Days of silence after which an offline node counts as gone: the deletions that it has not "
        "carried out end as `node_lost`. If it returns, it carries them out.",
    )
    quarantine_hours: float = Field(
        24,
        ge=0,
        le=24 * 365,
        description="Hours for which a node keeps the files of a deleted workspace, so that it can be restored. 0: "
        "they are removed at once. A node short of disk space removes them earlier. Set the same value on every node "
        "and for the API, whose previews tell it.",
    )
    node_min_free_bytes: int = Field(
        2 << 30,
        ge=0,
        description="Free bytes on the disk of the data directory below which this node takes no new workspace, and "
        "which fetches and checkouts leave free.",
    )
    node_pressure_bytes: int = Field(
        default_factory=lambda data: min(1 << 30, data["node_min_free_bytes"]),
        ge=0,
        description="Free bytes below which the executions of the workspace that grew most are ended. At most "
        "`RELAY_NODE_MIN_FREE_BYTES`.",
    )

    @field_validator("node_capabilities")
    @classmethod
    def _are_names(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        wrong = next((word for word in value if not _CAPABILITY.fullmatch(word)), None)
        if wrong is not None:
            msg = f"{wrong!r} must have 1 to 64 lower-case letters, digits and . _ -, and first a letter or digit"
            raise ValueError(msg)
        return value

    @field_validator("node_offline_seconds")
    @classmethod
    def _silences_grow(cls, value: float, info: ValidationInfo) -> float:
        before = info.data
        if {"node_heartbeat_seconds", "node_degraded_seconds"} <= before.keys():
            Bounds(before["node_heartbeat_seconds"], before["node_degraded_seconds"], value)
        return value

    @field_validator("node_pressure_bytes")
    @classmethod
    def _is_below_the_floor(cls, value: int, info: ValidationInfo) -> int:
        floor = info.data.get("node_min_free_bytes", value)
        if value > floor:
            msg = f"must be at most RELAY_NODE_MIN_FREE_BYTES ({floor}): no more is taken before something is ended"
            raise ValueError(msg)
        return value

    @property
    def presence(self) -> Bounds:
        """Seconds between heartbeats, and seconds without one after which a node counts as degraded and as offline."""
        return Bounds(self.node_heartbeat_seconds, self.node_degraded_seconds, self.node_offline_seconds)
