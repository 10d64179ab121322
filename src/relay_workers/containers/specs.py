"""Requests to a container engine: the containers to create, the steps to start, and the limits of an image pull."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from threading import Event

from relay_workers.containers.pid1.step import TerminalSize
from relay_workers.containers.run_files import RunFiles

WORKSPACE = "/workspace"
"""The path in a container at which its workspace directory is mounted."""
HIDDEN = "/workspace/.relay"
"""The path in a container at which an empty, read-only directory covers the node's own part of the workspace."""
PROGRAMS = "/relay"
"""The path in a container at which Relay's own programs are mounted, read-only."""
CHANNEL = "/relay/channel"
"""The path in a container at which the directory with the bootstrap socket of relay-pid1 is mounted, read-only."""
CA_BUNDLE = "/etc/relay/ca-bundle.crt"
"""The path in a container at which the node's CA bundle is mounted, if the node has one."""
LABEL_NODE = "relay.node_id"
LABEL_WORKSPACE = "relay.workspace_id"
LABEL_ROLE = "relay.role"


def identity_labels(node_id: str, workspace_id: str) -> dict[str, str]:
    """Return the labels that identify a workspace's container: node, workspace and role. They never change."""
    return {LABEL_NODE: node_id, LABEL_WORKSPACE: workspace_id, LABEL_ROLE: "workspace"}


def container_name(workspace_id: str) -> str:
    """Return the name of a workspace's container: a hash, from which the workspace's id cannot be derived.

    The engine's DNS tells every container on the bridge the name that belongs to an address, so an id in the name would
    be readable in other workspaces. The labels contain the id.
    """
    return f"relay-{sha256(workspace_id.encode()).hexdigest()[:20]}"


@dataclass(frozen=True)
class PullTerms:
    """The conditions under which an image that is not on the node may be pulled from its registry."""

    judge: Callable[[], None]
    """Called before anything is requested from the registry. Raises the step's error if this registry must not be
    asked."""
    cancelled: Event
    """Another thread sets it to cancel the pull, which then stops within 0.1 s."""
    seconds: float
    """The longest duration of a pull."""
    seconds_are: str
    """The name of the setting or limit that `seconds` comes from, for the error message of a pull that took longer."""
    max_bytes: int
    """The maximum total size of the image's compressed layers, in bytes."""
    min_free_bytes: int
    """The bytes that must stay free on the engine's disk during the pull."""
    tell: Callable[[bytes], None] = lambda _: None
    """Gets lines about the progress of the pull, for the log of the step."""


@dataclass(frozen=True)
class ContainerLimits:
    """Resource limits of a whole container, shared by all steps in it."""

    memory_bytes: int
    """The limit of memory in bytes. The limit of memory plus swap has the same value, so there is no swap."""
    cpus: float
    """Number of processors; 0.5 means half the time of one."""
    pids: int
    """Maximum number of processes and threads."""
    nofile: int
    """Maximum number of open files per process."""


@dataclass(frozen=True)
class Account:
    """The account to show to programs in a container: the ``/etc/passwd`` entry for the uid of the steps."""

    uid: int
    home: str
    """The path of the home directory in the container."""


@dataclass(frozen=True)
class ContainerSpec:
    """A workspace container to create. Clients cannot request any engine option that has no field here."""

    name: str
    image: str
    labels: Mapping[str, str]
    workspace_dir: Path
    """The workspace directory on the host, mounted read-write at `WORKSPACE`."""
    programs_dir: Path
    """The host directory with Relay's programs (`install_programs`), mounted read-only at `PROGRAMS`."""
    channel_dir: Path
    """A directory of the host for the channel to relay-pid1, of this container alone. Of it only the bootstrap socket
    is mounted, read-only, at `CHANNEL`. `ensure_container` makes it, and `remove` removes it."""
    limits: ContainerLimits
    network: str
    """The name of a bridge network; `ensure_container` creates it if it does not exist."""
    mirror_dirs: tuple[Path, ...] = ()
    """Directories of the host with git mirrors, each mounted read-only at the same path in the container."""
    env: Mapping[str, str] = field(default_factory=dict)
    account: Account | None = None
    """Added to ``/etc/passwd`` before the first start if the image has no account with this uid. None adds nothing."""
    ca_bundle: Path | None = None
    """The host's CA bundle file, mounted read-only at `CA_BUNDLE`; None mounts none."""


@dataclass(frozen=True)
class StepStart:
    """One step to start in a running container."""

    files: RunFiles
    """The logs and the record of this start, made by `RunFiles.create`. They also name it: an execution and a fence."""
    uid: int
    """A step with uid 0 keeps the capabilities of the container."""
    gid: int
    """No other execution has this gid, so it identifies the execution's processes."""
    cwd: str
    """The working directory, a path in the container."""
    script: bytes
    """Run by ``/bin/sh``, or by the program that its first line names after ``#!``."""
    env: Mapping[str, str]
    """Added to the environment of the container."""
    stdin: bytes = b""
    """The content of the step's standard input; empty if the step has a terminal."""
    deadline_seconds: float | None = None
    """Seconds after which relay-pid1 itself kills the step if no worker has done so; None for no such limit."""
    terminal: TerminalSize | None = None
    """The size of the terminal that the step gets. Its whole output is then the log of stdout. None gives it pipes."""
