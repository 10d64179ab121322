"""Schemas of tokens, nodes and health."""

from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import Field

from relay_api.schemas.common import Checks, Input, Output, ShortText
from relay_api.schemas.nodes import AttachOut
from relay_api.schemas.shapes import Capabilities, Shaped
from relay_core.domain.vocabulary import AttachmentState, Liveness, NodeHealth, Scope, SelfReport


class TokenIn(Input):
    """Request for a new token."""

    name: ShortText
    owner: ShortText = Field(description="Owner whose projects and workspaces it sees; the scope `admin` sees all.")
    scopes: list[Literal["runs:read", "runs:write", "admin"]] = Field(min_length=1, max_length=3)
    expires_in_seconds: int | None = Field(None, ge=1, le=10 * 366 * 86400, description="Null: until it is revoked.")


class TokenOut(Output):
    """A token without its text, which is shown only once."""

    id: UUID
    name: str
    owner: str
    scopes: list[Scope]
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None


class NewToken(TokenOut):
    """A new token with its text."""

    token: str | None = Field(
        description="Text of the token, in this answer only: Relay keeps a hash. Null in a repeated answer for an "
        "`Idempotency-Key`."
    )


class TokenList(Output):
    """All tokens, newest first."""

    items: list[TokenOut]


class LoadOut(Output):
    """Capacity that a node has reserved for workspaces in which a chain of steps is in progress."""

    workspaces: int
    memory_bytes: int = Field(description="Sum of the memory limits of these workspaces, in bytes.")


class WorkerOut(Output):
    """The slots of one worker, that is, the Celery tasks that it can carry out at once."""

    worker: str = Field(description="Celery's name of the worker.")
    used: int = Field(description="Executions that it carries out now; dev servers, which need no slot, do not count.")
    slots: int | None = Field(description="Its concurrency; null: the node has not reported it yet.")


class NodeOut(Output):
    """A host with a container engine and Relay workers."""

    node_id: str
    pool: str
    reported_health: NodeHealth = Field(description="Health that the node reports with its heartbeat.")
    self_report: SelfReport = Field(description="The same in the two words that a node may say of itself.")
    state: AttachmentState = Field(
        description="State of its attachment to a pool, which is another thing than `liveness`: a step starts there "
        "only if the attachment is `online` and heartbeats arrive."
    )
    read_only: bool = Field(
        description="Whether it is below the floor of its pool: it keeps what it runs, and starts nothing."
    )
    attachments: list[AttachOut] = Field(description="Its attachments to pools, the active one first.")
    liveness: Liveness = Field(
        description="Whether heartbeats arrive: `degraded` and `offline` after the configured seconds without one."
    )
    last_heartbeat_at: datetime | None
    age_seconds: float | None = Field(description="Seconds since the last heartbeat, on the clock of the database.")
    epoch: int = Field(
        description="Grows each time the node was offline and its executions were ended by another node."
    )
    client_version: str | None
    capabilities: Annotated[dict[str, Any], Shaped(Capabilities)]
    declares: list[str] = Field(description="Capabilities that runs may need (`RELAY_NODE_CAPABILITIES`).")
    draining: bool = Field(
        description="Whether the node was told to take no new workspaces; also true if it is revoked."
    )
    revoked_at: datetime | None = Field(description="Since when it starts no step; null: it is not revoked.")
    max_workspaces: int | None = Field(
        description="Most workspaces at work on the node at once; null: no limit is known."
    )
    memory_bytes: int | None = Field(
        description="Most bytes that the memory limits of these workspaces may add up to; null: no limit is known."
    )
    promised: LoadOut
    workers: list[WorkerOut] = Field(description="The node's workers with their slots, ordered by number.")
    closed: str | None = Field(description="Why it takes no new workspace with default limits; null: it does.")
    created_at: datetime


class NodeList(Output):
    """All nodes, ordered by name."""

    items: list[NodeOut]


class Health(Output):
    """Health of the server. `degraded`: work is accepted, but queue and live logs are slower while Redis is away."""

    status: Literal["ok", "degraded"]
    checks: Checks
    version: str
