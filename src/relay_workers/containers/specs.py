"""Requests to a container engine: the containers and steps to be made, and the terms of a pull."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from threading import Event

WORKSPACE = "/workspace"
"""The path in a container at which its workspace directory is mounted."""
SUPERVISOR = "/relay"
"""The path in a container at which Relay's own programs and scripts are mounted, read-only."""
CA_BUNDLE = "/etc/relay/ca-bundle.crt"
"""The path in a container at which the node's CA bundle is mounted, where the node has one."""
LABEL_NODE = "relay.node_id"
LABEL_WORKSPACE = "relay.workspace_id"
LABEL_ROLE = "relay.role"


def identity_labels(node_id: str, workspace_id: str) -> dict[str, str]:
    """The labels of a workspace's container: its node, its workspace and its role, which never change."""
    return {LABEL_NODE: node_id, LABEL_WORKSPACE: workspace_id, LABEL_ROLE: "workspace"}


def container_name(workspace_id: str) -> str:
    """The name of a workspace's container, which follows from the id; the id does not follow from the name.

    The engine's DNS gives names to every container of the bridge that asks for an address, so an id in a name would
    be readable in other workspaces. The labels have the id.
    """
    return f"relay-{sha256(workspace_id.encode()).hexdigest()[:20]}"


@dataclass(frozen=True)
class PullTerms:
    """The terms on which an image that is not on the node may be fetched from its registry."""

    judge: Callable[[], None]
    """Called before the registry is asked for anything; raises the error of the step where it may not be asked."""
    cancelled: Event
    """Set: the pull ends within 0.1 s."""
    seconds: float
    """The longest time of a pull."""
    seconds_are: str
    """The setting or limit that `seconds` comes from, for the message of a pull that took longer."""
    max_bytes: int
    """The largest sum of the layers, compressed, in bytes."""
    min_free_bytes: int
    """Bytes that the pull leaves free on the engine's disk."""


@dataclass(frozen=True)
class ContainerLimits:
    """Limits of a whole container, all its steps together."""

    memory_bytes: int
    """Memory and swap together, which leaves no swap."""
    cpus: float
    """Processors; 0.5 is half the time of one."""
    pids: int
    """Processes and threads."""
    nofile: int
    """Open files of one process."""


@dataclass(frozen=True)
class Account:
    """The account that programs in a container find in ``/etc/passwd`` for the uid of its steps."""

    uid: int
    home: str
    """The path of the home directory in the container."""


@dataclass(frozen=True)
class ContainerSpec:
    """A workspace container to be made; an option that has no field here cannot be asked for."""

    name: str
    image: str
    labels: Mapping[str, str]
    workspace_dir: Path
    """A directory of the host, mounted read-write at `WORKSPACE`."""
    supervisor_dir: Path
    """A directory of the host, mounted read-only at `SUPERVISOR`."""
    limits: ContainerLimits
    network: str
    """The name of a bridge, which `ensure_container` makes where it does not exist."""
    mirror_dirs: tuple[Path, ...] = ()
    """Directories of the host, each mounted read-only at its own path."""
    env: Mapping[str, str] = field(default_factory=dict)
    account: Account | None = None
    """Added to ``/etc/passwd`` before the first start, where the image has no account of that uid."""
    ca_bundle: Path | None = None
    """A file of the host, mounted read-only at `CA_BUNDLE`."""


@dataclass(frozen=True)
class StepStart:
    """One step to start in a running container."""

    run_dir: str
    """The path in the container of a directory made by `prepare_run_dir`."""
    user: str
    """``uid:gid``; the gid is the execution's own, by which its processes are found."""
    cwd: str
    """The working directory, a path in the container."""
    env: Mapping[str, str]
    """Added to the environment of the container."""
    deadline_seconds: float | None = None
    """Seconds after which the supervisor itself ends the step, where no worker has done so; None: never."""
