"""All settings of Relay: environment variables `RELAY_*`, checked when a process starts, units in the names."""

import base64
import os
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Annotated

from pydantic import Field, ValidationError, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from relay_core.domain.git.url import RemotePolicy
from relay_core.domain.nodes.presence import Bounds


def _default_data_dir() -> Path:
    return Path("/var/lib/relay") if os.geteuid() == 0 else Path.home() / ".local" / "share" / "relay"


Words = Annotated[tuple[str, ...], NoDecode]
"""A comma-separated list."""

SECRET_KEY_BYTES = 32
_URL_SAFE = str.maketrans("+/", "-_")


class Settings(BaseSettings):
    """One class for all processes, so that worker, API and Flower cannot disagree.

    Raises:
        pydantic.ValidationError: a value is out of bounds or of the wrong kind.
    """

    model_config = SettingsConfigDict(env_prefix="RELAY_", frozen=True, extra="ignore", env_ignore_empty=True)

    # storage
    database_url: str = Field("postgresql+psycopg2:///relay", description="SQLAlchemy URL of the Postgres database.")
    database_pool_size: int = Field(10, ge=1, le=100, description="Connections that one process keeps.")
    redis_url: str = Field("redis://127.0.0.1:6379/0", description="URL of the Redis (or Valkey) server; unix:// too.")
    data_dir: Path = Field(default_factory=_default_data_dir, description="Everything this node keeps.")

    # API
    api_host: str = Field("127.0.0.1", description="Address that the API listens on.")
    api_port: int = Field(8700, ge=1, le=65535, description="Port that the API listens on.")
    api_allowed_hosts: Words = Field(("127.0.0.1", "localhost", "[::1]"), description="Accepted Host headers.")
    api_public_url: str | None = Field(None, description="URL under which clients reach the API, for links.")
    idempotency_ttl_hours: int = Field(24, ge=1, le=24 * 30, description="How long an Idempotency-Key is remembered.")
    api_max_body_bytes: int = Field(4 << 20, ge=64 << 10, le=256 << 20, description="Largest request body.")
    api_sse_heartbeat_seconds: float = Field(15, gt=0, le=300, description="Comment on a silent event stream.")
    api_sse_max_seconds: float = Field(
        3600,
        gt=0,
        le=24 * 3600,
        description="An event stream is then ended; the client reconnects, its token rechecked.",
    )

    api_max_connections: int = Field(
        4096, ge=16, le=60000, description="Connections of clients at once; at most three quarters of its open files."
    )
    api_max_streams: int = Field(2000, ge=1, le=60000, description="Open streams of logs and events, of all clients.")
    api_max_streams_per_token: int = Field(250, ge=1, le=60000, description="Of them those of one token.")

    # which remotes may be cloned
    git_allow_http: bool = Field(False, description="http:// remotes; https:// always is.")
    git_allow_file: bool = Field(False, description="file:// remotes of the node, outside of the data directory.")
    git_allow_git_protocol: bool = Field(False, description="git:// remotes.")
    git_allow_private_hosts: bool = Field(False, description="Also loopback and link-local addresses.")
    git_allowed_hosts: Words = Field((), description="Empty: any public host.")
    git_ssh_key_file: Path | None = Field(None, description="Key for ssh remotes, until credentials are stored.")
    git_author_name: str = Field("Relay", description="Author of commits made by Relay, and in containers.")
    git_author_email: str = Field("relay@localhost", description="Mail address of that author.")
    branch_prefix: str = Field(
        "vk-", max_length=40, pattern=r"^[A-Za-z0-9][A-Za-z0-9/_-]*$", description="Begins the name of each branch."
    )
    clone_timeout_seconds: float = Field(300, gt=0, le=24 * 3600, description="Fetch and checkout of one repository.")
    git_container_timeout_seconds: float = Field(120, gt=0, le=3600, description="One run of the git container.")
    git_container_memory_bytes: int = Field(1 << 30, ge=64 << 20, description="Memory of the git container.")
    evidence_pack_max_bytes: int = Field(256 << 20, ge=1 << 20, description="Largest pack of an after-state.")
    git_host_memory_bytes: int = Field(4 << 30, ge=256 << 20, description="Address space of a git on the host.")
    mirror_max_bytes: int = Field(40 << 30, ge=1 << 20, description="Largest mirror of one remote; it never shrinks.")
    mirror_max_pack_bytes: int = Field(20 << 30, ge=1 << 20, description="Largest pack that one fetch may bring.")
    checkout_max_bytes: int = Field(20 << 30, ge=1 << 20, description="Largest work tree that is checked out.")
    checkout_max_files: int = Field(1_000_000, ge=1, description="Files and directories of such a work tree.")
    patch_max_bytes: int = Field(4 << 20, ge=1024, description="Largest stored patch of one repo; longer ones are cut.")

    agents_file: Path | None = Field(None, description="TOML file of agent profiles (docs/agents.md).")

    # secrets
    secret_keys: Words = Field(
        (),
        repr=False,
        description="Keys that encrypt projects' secrets, of 32 bytes in base64; the first encrypts, all decrypt.",
    )
    secret_keys_file: Path | None = Field(None, description="File with further keys, a line each.")

    # node and containers
    pool: str = Field("default", pattern=r"^[a-z0-9-]{1,40}$", description="Pool whose shared queue this node serves.")
    docker_host: str | None = Field(None, description="Docker API; DOCKER_HOST and the usual sockets otherwise.")
    default_image: str = Field("relay-base:latest", description="Image where neither request nor project names one.")
    git_image: str = Field("relay-git:latest", description="Image of the git container.")
    allowed_images: Words = Field((), description="Patterns (fnmatch) of images that may be used; empty: any.")
    image_pull_timeout_seconds: float = Field(1800, gt=0, le=24 * 3600, description="Pull of one image.")
    image_max_bytes: int = Field(20 << 30, ge=1 << 20, description="Largest image that is pulled, as downloaded.")
    container_uid: int | None = Field(
        None,
        ge=0,
        description="User of all workspaces that name none; without root, the worker's own.",
    )
    container_uids: str = Field(
        "70000-99999",
        pattern=r"^\d{1,10}-\d{1,10}$",
        description="Else each such workspace gets a uid of its own from this range.",
    )
    container_network: str = Field("relay", description="Shared bridge, traffic between containers off.")
    container_env_passthrough: Words = Field(
        ("http_proxy", "https_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY"),
        description="Names copied from the worker's environment into every container.",
    )
    ca_bundle: Path | None = Field(None, description="CA bundle mounted read-only into every container.")
    worker_concurrency: int | None = Field(None, ge=1, le=1000, description="Slots; from RAM and CPU otherwise.")
    worker_http_host: str = Field("127.0.0.1", description="Address of a worker's /healthz and /metrics.")
    worker_http_port: int | None = Field(None, ge=0, le=65535, description="Its port; none: no such page.")
    node_max_workspaces: int = Field(50, ge=1, description="Workspaces of this node in which a chain is under way.")
    node_memory_bytes: int | None = Field(
        None, ge=64 << 20, description="Sum of their memory limits; the host's otherwise."
    )
    node_pids: int | None = Field(
        None, ge=64, description="Sum of their limits.pids; three quarters of what the host can have otherwise."
    )
    node_heartbeat_seconds: float = Field(15, ge=0.1, le=600, description="Between two heartbeats of a node.")
    node_degraded_seconds: float = Field(30, ge=0.1, le=3600, description="A node silent for longer is degraded.")
    node_offline_seconds: float = Field(
        60, ge=0.1, le=24 * 3600, description="A node silent for longer is offline; its runs are ended then."
    )
    node_min_free_bytes: int = Field(2 << 30, ge=0, description="Disk space that a checkout leaves free.")

    node_pressure_bytes: int = Field(
        default_factory=lambda data: min(1 << 30, data["node_min_free_bytes"]),
        ge=0,
        description="With less free, the runs of the workspace that grew most are ended; at most the above.",
    )

    # running and capturing
    lease_seconds: float = Field(30, ge=1, le=3600, description="How long a run is its worker's without renewal.")
    lease_renew_seconds: float = Field(5, gt=0, le=600, description="Time between renewals, which also tell of kills.")
    engine_patience_seconds: float = Field(
        300, ge=0, le=24 * 3600, description="Wait for a container engine that does not answer (it is restarted)."
    )
    start_timeout_seconds: float = Field(30, gt=0, le=600, description="For a step's supervisor to begin.")
    last_resort_seconds: float = Field(
        60, gt=0, le=24 * 3600, description="After its time is up, until a step's own supervisor ends it."
    )
    log_tail_seconds: float = Field(5, ge=0, le=600, description="Wait for a held log after the process has ended.")
    live_log_ttl_seconds: int = Field(3600, ge=10, description="Life of a run's tail in Redis after its last byte.")
    live_log_max_bytes: int = Field(4 << 20, ge=64 << 10, description="Bytes of one run kept in Redis.")
    dev_server_start_seconds: float = Field(60, gt=0, le=3600, description="For a dev server's port to answer.")

    # the most that a request may ask for
    max_memory_bytes: int = Field(64 << 30, ge=64 << 20, description="Largest limits.memory_bytes.")
    max_cpus: float = Field(64, gt=0, description="Largest limits.cpus.")
    max_pids: int = Field(32768, ge=16, description="Largest limits.pids.")
    max_timeout_seconds: int = Field(24 * 3600, ge=1, description="Largest limits.timeout_seconds.")
    max_log_bytes: int = Field(2 << 30, ge=1024, description="Largest limits.log_bytes.")
    max_kill_grace_seconds: float = Field(600, ge=0, le=600, description="Largest limits.kill_grace_seconds.")
    max_disk_bytes: int = Field(200 << 30, ge=1 << 20, description="Largest limits.disk_bytes.")

    # Flower
    flower_port: int = Field(5555, ge=1, le=65535, description="Port of the local stack's Flower.")
    flower_user: str = Field("relay", description="Name to log in to Flower with.")
    flower_password: str | None = Field(None, description="The local stack makes one.")

    log_level: str = Field("INFO", pattern="^(DEBUG|INFO|WARNING|ERROR)$", description="Least level that is logged.")

    @field_validator(
        "api_allowed_hosts",
        "git_allowed_hosts",
        "allowed_images",
        "container_env_passthrough",
        "secret_keys",
        mode="before",
    )
    @classmethod
    def _split(cls, value: object) -> object:
        return tuple(word.strip() for word in value.split(",") if word.strip()) if isinstance(value, str) else value

    @field_validator("secret_keys")
    @classmethod
    def _are_keys(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        return checked_keys(value)

    @field_validator("secret_keys_file")
    @classmethod
    def _has_keys(cls, value: Path | None) -> Path | None:
        if value is not None:
            keys_in(value)
        return value

    @property
    def all_secret_keys(self) -> tuple[str, ...]:
        """Those of the environment, then those of the file."""
        return (*self.secret_keys, *(keys_in(self.secret_keys_file) if self.secret_keys_file else ()))

    @field_validator("node_offline_seconds")
    @classmethod
    def _silences_grow(cls, value: float, info: ValidationInfo) -> float:
        before = info.data
        if {"node_heartbeat_seconds", "node_degraded_seconds"} <= before.keys():
            Bounds(before["node_heartbeat_seconds"], before["node_degraded_seconds"], value)
        return value

    @field_validator("container_uids")
    @classmethod
    def _is_range(cls, value: str) -> str:
        first, last = map(int, value.split("-"))
        if not 0 < first <= last < 2**31 - 1:
            raise ValueError("must be FIRST-LAST with 0 < FIRST <= LAST < 2147483647")
        return value

    @property
    def container_uid_range(self) -> range:
        """The uids of workspaces that have one of their own."""
        first, last = map(int, self.container_uids.split("-"))
        return range(first, last + 1)

    @property
    def presence(self) -> Bounds:
        """How long a node may be silent."""
        return Bounds(self.node_heartbeat_seconds, self.node_degraded_seconds, self.node_offline_seconds)

    @property
    def remote_policy(self) -> RemotePolicy:
        """Which remotes may be cloned."""
        return RemotePolicy(
            allow_http=self.git_allow_http,
            allow_git_protocol=self.git_allow_git_protocol,
            allow_file=self.git_allow_file,
            allow_private_hosts=self.git_allow_private_hosts,
            allowed_hosts=self.git_allowed_hosts,
        )

    @property
    def trusted_images(self) -> tuple[str, ...]:
        """Images, or patterns of them, that the operator has chosen: their registries may be at private addresses."""
        return (*self.allowed_images, self.default_image, self.git_image)

    @field_validator("node_pressure_bytes")
    @classmethod
    def _below_the_floor(cls, value: int, info: ValidationInfo) -> int:
        floor = info.data.get("node_min_free_bytes", value)
        if value > floor:
            msg = f"must be at most RELAY_NODE_MIN_FREE_BYTES ({floor}): no more is taken before something is ended"
            raise ValueError(msg)
        return value

    @field_validator("data_dir")
    @classmethod
    def _absolute(cls, value: Path) -> Path:
        if not value.is_absolute():
            msg = "RELAY_DATA_DIR must be an absolute path: the container engine mounts it under the same name"
            raise ValueError(msg)
        return value


def checked_keys(given: Sequence[str]) -> tuple[str, ...]:
    """Keys in the URL-safe alphabet.

    Raises:
        ValueError: the message says which one is none, and how to make one; it repeats no key.
    """
    keys = tuple(key.translate(_URL_SAFE) for key in given)
    for number, key in enumerate(keys, 1):
        try:
            size = len(base64.b64decode(key, altchars=b"-_", validate=True))
        except ValueError:
            size = -1
        if size != SECRET_KEY_BYTES:
            raise ValueError(
                f"key {number} is not {SECRET_KEY_BYTES} bytes in base64; make one: openssl rand -base64 32"
            )
    return keys


def keys_in(file: Path) -> tuple[str, ...]:
    """The keys of a file.

    Raises:
        ValueError: it cannot be read, holds none, or something else.
    """
    try:
        keys = checked_keys(file.read_text().split())
    except OSError as error:
        raise ValueError(f"{file} cannot be read: {error.strerror}") from error
    if not keys:
        raise ValueError(f"{file} holds no key")
    return keys


def wrong_settings(error: ValidationError) -> str:
    """The environment variables that are wrong, without their values (one may be a password)."""
    return "; ".join(f"RELAY_{'_'.join(map(str, one['loc'][:1])).upper()}: {one['msg']}" for one in error.errors())


@cache
def get_settings() -> Settings:
    """The settings of this process, read from the environment at the first call."""
    return Settings()
