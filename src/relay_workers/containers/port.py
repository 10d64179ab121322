"""What Relay needs of a container engine: one workspace container, the executions in it, and nothing else.

All verbs may raise `EngineUnavailable` (the engine does not answer, or not as it should) and, where the container is
gone or does not run, `StepFailed` with the reason ``container_missing``.
"""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from threading import Event
from typing import Protocol

from relay_core.domain.errors import RelayError

WORKSPACE = "/workspace"
"""Where the workspace directory is mounted."""
SUPERVISOR = "/relay"
"""Where Relay's own programs and scripts are mounted, read-only."""
CA_BUNDLE = "/etc/relay/ca-bundle.crt"
"""Where the CA bundle is mounted, where there is one."""
LABEL_NODE = "relay.node_id"
LABEL_WORKSPACE = "relay.workspace_id"
LABEL_ROLE = "relay.role"


class EngineUnavailable(RelayError):  # noqa: N818 - reads as what it says
    """The container engine does not answer or failed; nothing is known about what was asked."""

    code = "engine_unavailable"

    def __init__(self, message: str, *, retryable: bool, silent: bool = False) -> None:
        super().__init__(message)
        self.retryable = retryable
        """Whether asking again can help; else somebody has to change something first."""
        self.silent = silent
        """It gave no answer at all: it is being restarted, perhaps."""


def identity_labels(node_id: str, workspace_id: str) -> dict[str, str]:
    """The labels of a workspace's container: who it is, and nothing that may change or is secret."""
    return {LABEL_NODE: node_id, LABEL_WORKSPACE: workspace_id, LABEL_ROLE: "workspace"}


def container_name(workspace_id: str) -> str:
    """The name of a workspace's container; the same each time, and no way back to the id.

    The engine's DNS tells names to every container of the bridge that asks for an address. The labels have the id.
    """
    return f"relay-{sha256(workspace_id.encode()).hexdigest()[:20]}"


@dataclass(frozen=True)
class ImageInfo:
    """An image that is on this node."""

    id: str
    digest: str | None
    """``repository@sha256:…`` where it came from a registry."""
    user: str
    """Its ``USER``, empty when it has none."""
    uid: int | None
    """The number of `user`, looked up in the image where it is a name; None when it has none."""
    env: Mapping[str, str]
    architecture: str = ""
    """As the engine names it (``amd64``)."""
    volumes: tuple[str, ...] = ()
    """Paths that it declares as ``VOLUME``."""


@dataclass(frozen=True)
class PullTerms:
    """On what terms an image that is not on the node may be fetched."""

    judge: Callable[[], None]
    """Called before a registry is asked for anything; raises where it may not be asked."""
    cancelled: Event
    """Ends a pull within a moment."""
    seconds: float
    seconds_are: str
    """Which setting or limit that is, for the message."""
    max_bytes: int
    """Largest download."""
    min_free_bytes: int
    """Disk space that is left to the node."""


@dataclass(frozen=True)
class EngineInfo:
    """What a node's engine is and has."""

    version: str
    cgroup_version: str
    cpus: int
    memory_bytes: int
    images: tuple[str, ...]
    """Names, at most `MOST_IMAGES`."""


MOST_IMAGES = 200


@dataclass(frozen=True)
class ContainerLimits:
    """What a whole container may use."""

    memory_bytes: int
    """Memory and swap together: there is no swap."""
    cpus: float
    pids: int
    nofile: int


@dataclass(frozen=True)
class Account:
    """The account that programs in a container find for the uid of its steps."""

    uid: int
    home: str


@dataclass(frozen=True)
class ContainerSpec:
    """All that can be said about a workspace container; what is not here cannot be asked for."""

    name: str
    image: str
    labels: Mapping[str, str]
    workspace_dir: Path
    """Mounted read-write at `WORKSPACE`."""
    supervisor_dir: Path
    """Mounted read-only at `SUPERVISOR`."""
    limits: ContainerLimits
    network: str
    """A bridge made by `ensure_container` where it does not exist."""
    mirror_dirs: tuple[Path, ...] = ()
    """Mounted read-only at their own path."""
    env: Mapping[str, str] = field(default_factory=dict)
    account: Account | None = None
    """Added to ``/etc/passwd`` before the first start, where the image has none of that uid."""
    ca_bundle: Path | None = None
    """Mounted read-only at `CA_BUNDLE`."""


@dataclass(frozen=True)
class StepStart:
    """One step to start in a running container."""

    run_dir: str
    """Path in the container of a directory made by `prepare_run_dir`."""
    user: str
    """``uid:gid``; the gid is the execution's own."""
    cwd: str
    env: Mapping[str, str]
    deadline_seconds: float | None = None
    """When its supervisor ends it as a last resort; None: never."""


@dataclass(frozen=True)
class ExecState:
    """How the engine sees a started step."""

    running: bool
    exit_code: int | None


@dataclass(frozen=True)
class ContainerState:
    """How the engine sees a container."""

    exists: bool
    running: bool = False
    started_at: str | None = None
    """As the engine writes it; another value means that it was restarted since."""
    exit_code: int | None = None
    address: str | None = None
    """IPv4 address on its bridge."""
    labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Storage:
    """Where a container keeps what it writes outside of the workspace directory."""

    directories: tuple[Path, ...]
    """Of its layer and its volumes, those that this host sees."""
    layer_seen: bool
    """Whether the layer is among them; else `layer_bytes` tells its size."""


@dataclass(frozen=True)
class KillResult:
    """What a kill came to."""

    remaining: int
    """Processes still there, 0 unless even a restart failed to end them."""
    rounds: int
    """Looks at the process table."""
    restarted: bool
    """Everything in the container was ended, as its processes could not be ended one by one: to be evented."""


@dataclass(frozen=True)
class OurContainer:
    """A container that carries our labels."""

    id: str
    name: str
    running: bool
    labels: Mapping[str, str]


class Containers(Protocol):
    """Containers of workspaces and the executions in them; every verb may be repeated."""

    def info(self) -> EngineInfo:
        """What the engine is and has."""

    def ensure_image(self, ref: str, terms: PullTerms | None = None) -> ImageInfo:
        """An image that is here, fetched on these terms if need be; without terms none is fetched.

        Raises:
            StepFailed: ``image_unavailable``, the message says what to do and repeats nothing that a registry has said;
                ``timeout``, ``disk_pressure``; ``user``: cancelled.
        """

    def platform(self) -> tuple[str, int]:
        """The engine's architecture, as it names those of images, and its number of processors."""

    def ensure_container(self, spec: ContainerSpec) -> str:
        """The id of a running container of that name, made now or before.

        Raises:
            Conflict: the name belongs to a container with other labels.
            StepFailed: ``image_unavailable`` or ``engine_error``, which a repetition will not change.
        """

    def has_program(self, container_id: str, name: str, user: str, env: Mapping[str, str]) -> bool:
        """Whether ``user`` finds the program ``name`` on the PATH of the image and ``env``."""

    def start(self, container_id: str, step: StepStart) -> str:
        """Start a step, detached, and give its exec id.

        An answer is no proof of a start: it runs once its run directory says so (`RunDir.has_started`).
        """

    def exec_state(self, exec_id: str) -> ExecState | None:
        """A started step, or None when the engine knows it no more."""

    def leftover_names(self, container_id: str, gid: int) -> list[str]:
        """Names of the processes of that gid, but its supervisor and what keeps its log."""

    def kill_execution(self, container_id: str, gid: int, *, grace_seconds: float) -> KillResult:
        """End every process of that gid: TERM, ``grace_seconds``, KILL, verified; returns when none is left."""

    def end_leftovers(self, container_id: str, keep_gids: Collection[int]) -> KillResult:
        """End at once every process of other gids, those of root steps too."""

    def inspect(self, container_id: str) -> ContainerState:
        """A container, by id or name."""

    def storage(self, container_id: str) -> Storage:
        """Where it writes; it stays so for its life. Does not wait for an engine that is away."""

    def layer_bytes(self, container_id: str) -> int:
        """Size of what it wrote into its own layer, holes included. Does not wait for an engine that is away."""

    def stop(self, container_id: str) -> None:
        """End everything in a container and keep its files."""

    def restart(self, container_id: str) -> None:
        """Stop and start a container."""

    def remove(self, container_id: str) -> None:
        """Remove a container, running or not."""

    def list_ours(self, node_id: str) -> list[OurContainer]:
        """All workspace containers with this node's label, running or not."""
