"""Schemas of the operations of nodes about themselves, and of the floors of pools."""

from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from pydantic import Field, StringConstraints

from relay_api.schemas.common import Input, Output, ShortText
from relay_api.schemas.patterns import POOL, PROTOCOL
from relay_core.domain.run_notes import MOST_METADATA_BYTES
from relay_core.domain.vocabulary import AttachmentState, NodeHealth, SelfReport

Version = Annotated[
    str,
    StringConstraints(min_length=3, max_length=13, pattern=PROTOCOL),
    Field(description="Version MAJOR.MINOR of the protocol between nodes and server.", examples=["1.1"]),
]
PoolName = Annotated[str, StringConstraints(min_length=1, max_length=200, pattern=POOL)]
Reported = Annotated[
    SelfReport, Field(strict=False, description="What the node says about itself; nothing else is for it to say.")
]
Declared = Annotated[
    dict[str, Any],
    Field(
        description="What the node declares: `declares` (names that runs may need), `cpus`, `memory_bytes`, "
        f"`slots_per_worker`, `disk_bytes`; other keys are kept. Up to {MOST_METADATA_BYTES} bytes.",
        examples=[{"declares": ["gpu"], "cpus": 8}],
    ),
]


class AttachIn(Input):
    """Request to attach a node to a pool."""

    pool: PoolName = "default"
    protocol_version: Version
    capabilities: Declared = Field(default_factory=dict)
    health: Reported = Field(SelfReport.ONLINE, strict=False)


class AttachOut(Output):
    """The attachment of a node to a pool."""

    id: UUID
    node_id: str
    pool: str
    state: AttachmentState = Field(
        description="`registering` until the node's next heartbeat; `degraded`: its declaration is not valid, or it "
        "says so; `offline`: it was detached."
    )
    state_reason: str | None = Field(description="Why it is degraded; null otherwise.")
    protocol_version: str
    read_only: bool = Field(
        description="Whether the node is below the floor of the pool: it keeps what it runs, and starts nothing."
    )
    attached_at: datetime = Field(description="When it was attached for the first time.")
    updated_at: datetime


class HeartbeatIn(Input):
    """A heartbeat of a node."""

    health: Reported
    detail: NodeHealth | None = Field(
        None, strict=False, description="The finer word; null: `ok` if the node is online, else `impaired`."
    )


class HealthChange(Input):
    """The report of a node about itself, sent with its capabilities."""

    state: Reported
    reason: ShortText | None = None


class CapabilitiesIn(Input):
    """The capabilities that a node declares from now on."""

    capabilities: Declared
    health_change: HealthChange | None = None


class CapabilitiesOut(Output):
    """The state of a node's attachment after it declared its capabilities."""

    node_id: str
    state: AttachmentState
    updated_at: datetime


class DetachIn(Input):
    """Request to detach a node."""

    reason: ShortText | None = Field(None, description="For people; the event `node.detached` has it.")


class FloorIn(Input):
    """The lowest protocol version of nodes that may start steps of a pool."""

    min_protocol_version: Version | None = Field(description="Null: no floor.")


class FloorOut(Output):
    """The floor of a pool."""

    pool: str
    min_protocol_version: str | None


class FloorList(Output):
    """The floors of pools, by name."""

    items: list[FloorOut]
