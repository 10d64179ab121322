"""Settings of executions: leases, time-outs, logs, and the largest limits that a request may ask for."""

from pydantic import Field

from relay_core.settings.base import SettingsGroup


class ExecutionSettings(SettingsGroup):
    """Time-outs of executions, and the tail of their logs in Redis."""

    workspace_idle_stop_hours: float | None = Field(
        None,
        ge=0.001,
        le=24 * 3650,
        description="Hours without an execution after which the container of a workspace is stopped; the next step "
        "starts it again. Pinned workspaces are left alone. A project may say otherwise. Unset: never.",
    )
    workspace_idle_archive_hours: float | None = Field(
        None,
        ge=0.001,
        le=24 * 3650,
        description="Hours without an execution or another change (a stop is one) after which a workspace is archived, "
        "with its archive scripts. Pinned workspaces are left alone. A project may say otherwise. Unset: never.",
    )
    workspace_idle_delete_hours: float | None = Field(
        None,
        ge=0.001,
        le=24 * 3650,
        description="Hours without an execution or another change after which an archived workspace is deleted; its "
        "uncommitted work is kept first (docs/housekeeping.md). A project may say otherwise. Unset: never.",
    )
    lease_seconds: float = Field(
        30,
        ge=1,
        le=3600,
        description="Seconds after the last renewal until another worker may take over an execution. Raise it where "
        "Postgres is away for longer; a dead worker's executions then wait longer, too.",
    )
    lease_renew_seconds: float = Field(
        5,
        gt=0,
        le=600,
        description="Seconds between renewals of a worker's lease. A renewal also tells of kills that no message told "
        "of. Keep it well below `RELAY_LEASE_SECONDS`.",
    )
    start_timeout_seconds: float = Field(
        30,
        gt=0,
        le=600,
        description="Without effect: relay-pid1 says at once whether a step has begun. It is read in this release "
        "only, so that existing settings stay valid; remove it from yours.",
    )
    last_resort_seconds: float = Field(
        60,
        gt=0,
        le=24 * 3600,
        description="Seconds after time-out and grace of a step until relay-pid1, the first process of its container, "
        "ends it by itself. It matters only while no worker is there to end the step.",
    )
    log_tail_seconds: float = Field(
        5,
        ge=0,
        le=600,
        description="Most seconds after the end of a step for which output of its background processes is still read.",
    )
    live_log_ttl_seconds: int = Field(
        3600, ge=10, description="Seconds for which Redis keeps the tail of a log after its last byte."
    )
    live_log_max_bytes: int = Field(
        4 << 20,
        ge=64 << 10,
        description="Bytes of one log's tail that Redis keeps. A reader that is further behind reads from Postgres.",
    )
    dev_server_start_seconds: float = Field(
        60,
        gt=0,
        le=3600,
        description="Seconds after which a dev server whose port does not answer is ended as `no_port`. Raise it for "
        "servers that build before they listen.",
    )

    priority_raise_seconds: float = Field(
        600,
        ge=1,
        le=30 * 24 * 3600,
        description="Seconds of waiting after which a run counts as one level of priority higher. Set the same value "
        "for the API and all workers.",
    )


class LimitSettings(SettingsGroup):
    """The largest values that a request may ask for in `limits`."""

    max_memory_bytes: int = Field(
        64 << 30, ge=64 << 20, description="Largest `limits.memory_bytes` of a request, in bytes."
    )
    max_cpus: float = Field(64, gt=0, description="Largest `limits.cpus` of a request, in processors.")
    max_pids: int = Field(32768, ge=16, description="Largest `limits.pids` of a request, in processes and threads.")
    max_timeout_seconds: int = Field(
        24 * 3600, ge=1, description="Largest `limits.timeout_seconds` of a request, in seconds."
    )
    max_log_bytes: int = Field(2 << 30, ge=1024, description="Largest `limits.log_bytes` of a request, in bytes.")
    max_kill_grace_seconds: float = Field(
        600, ge=0, le=600, description="Largest `limits.kill_grace_seconds` of a request, in seconds."
    )
    max_disk_bytes: int = Field(
        200 << 30, ge=1 << 20, description="Largest `limits.disk_bytes` of a request, in bytes."
    )
