"""Tokens, nodes and health."""

from datetime import datetime
from typing import Any, Literal
from uuid import UUID

from pydantic import Field

from relay_api.schemas.common import Input, Output, ShortText
from relay_core.domain.vocabulary import Liveness, NodeHealth, Scope


class TokenIn(Input):
    """A new token."""

    name: ShortText
    owner: ShortText = Field(description="Whose things it sees; `admin` sees everybody's.")
    scopes: list[Literal["runs:read", "runs:write", "admin"]] = Field(min_length=1, max_length=3)
    expires_in_seconds: int | None = Field(None, ge=1, le=10 * 366 * 86400, description="Null: until it is revoked.")


class TokenOut(Output):
    """What may be shown of a token."""

    id: UUID
    name: str
    owner: str
    scopes: list[Scope]
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None


class NewToken(TokenOut):
    """A token just made."""

    token: str | None = Field(
        description="Its text, in this answer only: only a hash is kept. Null when the answer is repeated for an "
        "`Idempotency-Key`."
    )


class TokenList(Output):
    """All tokens, the newest first."""

    items: list[TokenOut]


class LoadOut(Output):
    """What a node has promised: to workspaces in which a chain is under way."""

    workspaces: int
    memory_bytes: int = Field(description="Sum of their memory limits.")


class NodeOut(Output):
    """A host with a container engine and Relay workers."""

    node_id: str
    pool: str
    reported_health: NodeHealth = Field(description="What the node says of itself.")
    liveness: Liveness = Field(description="What its silence tells: `degraded` and `offline` after the set times.")
    last_heartbeat_at: datetime | None
    age_seconds: float | None = Field(description="Since the last heartbeat, by the database's clock.")
    epoch: int = Field(description="Grows each time the node was offline and its runs were ended for it.")
    client_version: str | None
    capabilities: dict[str, Any]
    draining: bool = Field(description="It was told to take no new workspaces.")
    max_workspaces: int | None = Field(description="Workspaces that may be at work there at once.")
    memory_bytes: int | None = Field(description="The most that their memory limits may add up to.")
    promised: LoadOut
    created_at: datetime


class NodeList(Output):
    """All nodes, by name."""

    items: list[NodeOut]


class Check(Output):
    """One part of the server."""

    ok: bool
    error: str | None = None


class Checks(Output):
    """What was checked."""

    database: Check
    redis: Check


class Health(Output):
    """`degraded`: work is accepted and recorded, but queue and live logs are slower until Redis is back."""

    status: Literal["ok", "degraded"]
    checks: Checks
    version: str
