"""Settings of Postgres, Redis and the data directory."""

from pathlib import Path

from pydantic import Field, field_validator

from relay_core.data_dir import NOT_ABSOLUTE, default_data_dir
from relay_core.settings.base import SettingsGroup


class StorageSettings(SettingsGroup):
    """Where state is kept: URLs of Postgres and Redis, and the data directory of the node."""

    database_url: str = Field(
        "postgresql+psycopg2:///relay",
        description="SQLAlchemy URL of the Postgres database. Set the same URL for every process of a deployment.",
    )
    database_pool_size: int = Field(
        10,
        ge=1,
        le=100,
        description="Database connections that one process keeps open; at peaks it opens as many again. Raise it "
        "together with `max_connections` of Postgres when requests or steps wait for a connection.",
    )
    redis_url: str = Field(
        "redis://127.0.0.1:6379/0",
        description="URL of the Redis or Valkey server that carries messages and live logs; `unix://` works too. "
        "Set the same URL for every process of a deployment.",
    )
    data_dir: Path = Field(
        default_factory=default_data_dir,
        description="Absolute path of the directory for all files of this node: mirrors, workspaces, logs in progress. "
        "Put it on a large disk; moving it moves the node's identity with it.",
    )

    log_retention_days: float | None = Field(
        None,
        ge=0,
        le=36500,
        description="Days for which the bytes of a log are kept after the week in which its execution started; their "
        "size and checksum stay (docs/housekeeping.md). 0 or unset: for ever.",
    )
    log_retention_bytes: int | None = Field(
        None,
        ge=0,
        description="Bytes on the disk that all stored logs may have; the oldest weeks beyond them are removed. 0 or "
        "unset: no limit.",
    )

    @field_validator("data_dir")
    @classmethod
    def _is_absolute(cls, value: Path) -> Path:
        if not value.is_absolute():
            raise ValueError(NOT_ABSOLUTE)
        return value
