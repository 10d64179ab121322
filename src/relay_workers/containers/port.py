"""The container port: workspace containers, the steps that run in them, and no other use of a container engine.

Two errors may come from every verb of `Containers`, and its docstring repeats neither:

* `EngineUnavailable`: the fault of the engine or of the node. The engine gave no answer, or one that it never gives
  while it is well; whether the request was carried out is not known.
* `StepFailed` with the reason ``disk_pressure``: the fault of the node, whose disk is full.
"""

from collections.abc import Collection, Mapping
from typing import Protocol

from relay_core.domain.errors import RelayError
from relay_workers.containers.answers import (
    MOST_IMAGES,
    ContainerState,
    EngineInfo,
    ExecState,
    ImageInfo,
    KillResult,
    OurContainer,
    Storage,
)
from relay_workers.containers.specs import (
    CA_BUNDLE,
    LABEL_NODE,
    LABEL_ROLE,
    LABEL_WORKSPACE,
    SUPERVISOR,
    WORKSPACE,
    Account,
    ContainerLimits,
    ContainerSpec,
    PullTerms,
    StepStart,
    container_name,
    identity_labels,
)

__all__ = [
    "CA_BUNDLE",
    "LABEL_NODE",
    "LABEL_ROLE",
    "LABEL_WORKSPACE",
    "MOST_IMAGES",
    "SUPERVISOR",
    "WORKSPACE",
    "Account",
    "ContainerLimits",
    "ContainerSpec",
    "ContainerState",
    "Containers",
    "EngineInfo",
    "EngineUnavailable",
    "ExecState",
    "ImageInfo",
    "KillResult",
    "OurContainer",
    "PullTerms",
    "StepStart",
    "Storage",
    "container_name",
    "identity_labels",
]


class EngineUnavailable(RelayError):  # noqa: N818 - reads as what it says
    """The container engine gave no answer, or failed; whether the request was carried out is not known.

    Args:
        message: says what is wrong and what to do, for the log and the client.
        retryable: whether asking again can help; False where an operator has to change something first.
        silent: whether the engine gave no answer at all, as while it is restarted; `RetryWhileSilent` waits for it.
    """

    code = "engine_unavailable"

    def __init__(self, message: str, *, retryable: bool, silent: bool = False) -> None:
        super().__init__(message)
        self.retryable = retryable
        self.silent = silent


class Containers(Protocol):
    """Containers of workspaces and the steps in them; usable from many threads.

    Containers are named by id or name. Every verb may be called again after any error. A verb that *waits* repeats its
    request while the engine is silent, for as long as the worker's `RetryWhileSilent` says; the others raise at once.
    """

    def info(self) -> EngineInfo:
        """The engine's version, its host's size and the images on the node. Does not wait."""

    def platform(self) -> tuple[str, int]:
        """The engine's architecture, as it names those of images, and its number of processors. Waits."""

    def ensure_image(self, ref: str, terms: PullTerms | None = None) -> ImageInfo:
        """An image that is on the node, fetched before if need be. Waits.

        Args:
            ref: a name with an optional tag or digest, or an id.
            terms: the terms of a pull; without them no image is fetched.

        Raises:
            StepFailed: ``image_unavailable``, the fault of the request or the registry: there is no such image, it is
                too large, or the name is not one; the message says what to do and repeats no text of a registry.
                ``timeout``: the pull took longer than `PullTerms.seconds`. ``user``: it was cancelled.
        """

    def ensure_container(self, spec: ContainerSpec) -> str:
        """The id of a running container of that name, made or started now where need be. Waits.

        A container of that name that exists is started as it is: other fields of ``spec`` do not change it. A failure
        leaves no container that was made by this call.

        Raises:
            Conflict: ``container_name_taken``, the fault of the node: a container with other labels has the name.
            StepFailed: ``image_unavailable``: the image is not on the node. ``engine_error``: the engine refuses this
                container, as for a mount whose source is missing; asking again does not help.
        """

    def has_program(self, container_id: str, name: str, user: str, env: Mapping[str, str]) -> bool:
        """Whether ``user`` finds the program ``name`` on the PATH of the container. Does not wait.

        Args:
            container_id: a running container.
            name: of the program; it is not interpreted by a shell.
            user: ``uid:gid``; the gid is replaced by 0, so that no kill takes this look for a step.
            env: added to the environment of the container; a PATH in it replaces the image's.

        Raises:
            StepFailed: ``container_missing``: the container is gone or does not run.
        """

    def start(self, container_id: str, step: StepStart) -> str:
        """Start a step without waiting for it to begin, and return its exec id. Does not wait, as it must not repeat.

        An answer is no proof of a start, and an error no proof that there was none: the supervisor began once
        `RunDir.has_started` says so. A run directory starts one step: a second start of it, and a start after
        `RunDir.declare_never_started`, end at once without a trace in it.

        Raises:
            StepFailed: ``container_missing``: the container is gone or does not run. ``start_failed``, the fault of the
                container: it has no shell that could run the supervisor.
            EngineUnavailable: the step may have been started.
        """

    def exec_state(self, exec_id: str) -> ExecState | None:
        """The state of a started step; None where the engine does not know the exec, as after a restart. Waits."""

    def leftover_names(self, container_id: str, gid: int) -> list[str]:
        """The names of processes of ``gid`` in alphabetical order, but for its supervisor and copiers. Does not wait.

        Args:
            container_id: a running container.
            gid: of one execution.

        Returns:
            A name of at most 15 bytes for each process, chosen by the process itself: untrusted text.

        Raises:
            StepFailed: ``container_missing``: the container is gone or does not run.
        """

    def kill_execution(self, container_id: str, gid: int, *, grace_seconds: float) -> KillResult:
        """End every process of ``gid``: TERM, up to ``grace_seconds``, KILL; returns when none is left. Waits.

        The supervisor writes its record before it ends, unless the step ignored TERM and was ended with it. Where a
        process stays, or the container hinders its own killer, the container is restarted. A container that is gone or
        stopped has no processes: that is no error.

        Args:
            container_id: any container.
            gid: of one execution; processes that changed all their gids are not found (`end_leftovers`).
            grace_seconds: between TERM and KILL, for a step that handles TERM.

        Raises:
            StepFailed, EngineUnavailable: the processes could not be ended, or that could not be verified.
        """

    def end_leftovers(self, container_id: str, keep_gids: Collection[int]) -> KillResult:
        """End at once every process with none of ``keep_gids``, those of root too; as `kill_execution`. Waits.

        PID 1 and Relay's own helpers stay.
        """

    def inspect(self, container_id: str) -> ContainerState:
        """The state of a container; one that is gone is no error. Waits."""

    def storage(self, container_id: str) -> Storage:
        """The directories in which a container writes; they stay the same as long as it exists. Does not wait.

        Raises:
            StepFailed: ``container_missing``: the container is gone.
        """

    def layer_bytes(self, container_id: str) -> int:
        """The bytes that a container wrote into its own layer, holes included; 0 where it is gone. Does not wait."""

    def stop(self, container_id: str) -> None:
        """End every process of a container and keep its files; one that is stopped or gone is no error. Waits."""

    def restart(self, container_id: str) -> None:
        """Stop a container, if it runs, and start it. Waits.

        Raises:
            StepFailed: ``container_missing``: the container is gone.
        """

    def remove(self, container_id: str) -> None:
        """Remove a container, running or not, and its volumes; one that is gone is no error. Waits."""

    def list_ours(self, node_id: str) -> list[OurContainer]:
        """The workspace containers with this node's label, running or not. Waits."""
