"""Settings of the HTTP API."""

from pydantic import Field

from relay_core.settings.base import SettingsGroup, Words


class ApiSettings(SettingsGroup):
    """The API's address, its bounds on requests, and its event streams."""

    api_host: str = Field(
        "127.0.0.1",
        description="Address that the API listens on. Use `0.0.0.0` only behind a proxy that speaks TLS.",
    )
    api_port: int = Field(8700, ge=1, le=65535, description="TCP port that the API listens on.")
    api_allowed_hosts: Words = Field(
        ("127.0.0.1", "localhost", "[::1]"),
        description="Values of the `Host` header that the API answers. Add each name under which clients reach it.",
    )
    api_public_url: str | None = Field(
        None,
        description="URL under which clients reach the API, used in the links of answers. Set it when the API is "
        "behind a proxy; unset, links are paths without a host.",
    )
    idempotency_ttl_hours: int = Field(
        24,
        ge=1,
        le=24 * 30,
        description="Hours for which the answer to an `Idempotency-Key` is remembered. Raise it when clients repeat "
        "requests later than that.",
    )
    api_max_body_bytes: int = Field(
        4 << 20,
        ge=64 << 10,
        le=256 << 20,
        description="Largest request body in bytes. Raise it for larger prompts or environments.",
    )
    api_sse_heartbeat_seconds: float = Field(
        15,
        gt=0,
        le=300,
        description="Seconds between keep-alive comments on an event stream without events. Keep it below the idle "
        "time-out of every proxy in between.",
    )
    api_sse_max_seconds: float = Field(
        3600,
        gt=0,
        le=24 * 3600,
        description="Seconds after which the API ends an event stream. The client reconnects where it was, and its "
        "token is checked again; lower it to make a revoked token ineffective sooner.",
    )
    api_max_connections: int = Field(
        4096,
        ge=16,
        le=60000,
        description="Most connections of clients that one API process accepts at once; at most three quarters of the "
        "files that the process may open. Further ones are answered with 503.",
    )
    api_max_streams: int = Field(
        2000,
        ge=1,
        le=60000,
        description="Most open streams of logs and events of all clients in one API process. Further ones are refused "
        "with 429.",
    )
    api_max_streams_per_token: int = Field(
        250,
        ge=1,
        le=60000,
        description="Most open streams of one token in one API process. Further ones are refused with 429.",
    )
