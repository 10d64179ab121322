"""The interface to a container engine: workspace containers and the steps that run in them.

Relay uses a container engine for nothing else, except for its own tools (`relay_workers.containers.tool`). Every method
of `Containers` may raise two errors, which its docstring does not repeat:

* `EngineUnavailable`: the engine or the node is at fault. The engine did not answer, or answered with an internal
  failure. It is unknown whether the request was carried out.
* `StepFailed` with the reason ``disk_pressure``: the node is at fault, because its disk is full.
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
    """The container engine did not answer, or failed. It is unknown whether the request was carried out.

    Args:
        message: states what is wrong and what to do, for the log and the client.
        retryable: whether trying again can help; False if an operator has to change something first.
        silent: whether the engine gave no answer at all, as during its restart. `RetryWhileSilent` repeats such a
            request.
    """

    code = "engine_unavailable"

    def __init__(self, message: str, *, retryable: bool, silent: bool = False) -> None:
        super().__init__(message)
        self.retryable = retryable
        self.silent = silent


class Containers(Protocol):
    """The containers of workspaces and the steps in them; usable from many threads.

    A ``container_id`` argument is the id or the name of a container. Every method may be called again after any error.
    While the engine gives no answer, some methods repeat their request for as long as the worker's `RetryWhileSilent`
    allows; the others raise `EngineUnavailable` at once. Each docstring states which.
    """

    def info(self) -> EngineInfo:
        """Return the engine's version, its host's size and the images on the node.

        Raises at once if the engine gives no answer.
        """

    def platform(self) -> tuple[str, int]:
        """Return the engine's processor architecture (as in `ImageInfo`) and its number of processors.

        Repeats the request while the engine gives no answer.
        """

    def ensure_image(self, ref: str, terms: PullTerms | None = None) -> ImageInfo:
        """Return an image of the node; if the node does not have it, pull it first.

        Repeats the request while the engine gives no answer.

        Args:
            ref: an image name with an optional tag or digest, or an image id.
            terms: the limits of a pull. Without them nothing is pulled.

        Raises:
            StepFailed: ``image_unavailable``, the fault of the request or the registry: there is no such image, it is
                too large, or ``ref`` is no valid name. The message states what to do and repeats no text of a registry.
                ``timeout``: the pull took longer than `PullTerms.seconds`. ``user``: the pull was cancelled.
        """

    def ensure_container(self, spec: ContainerSpec) -> str:
        """Return the id of the running container named ``spec.name``; create or start it if needed.

        Repeats the request while the engine gives no answer.

        An existing container of that name is started unchanged: the other fields of ``spec`` are not applied to it. If
        the call fails, it removes the container that it created.

        Raises:
            Conflict: ``container_name_taken``, the fault of the node: a container with other labels has this name.
            StepFailed: ``image_unavailable``: the image is not on the node. ``engine_error``: the engine refuses this
                container, for example because the source of a mount is missing; trying again does not help.
        """

    def has_program(self, container_id: str, name: str, user: str, env: Mapping[str, str]) -> bool:
        """Return whether ``user`` finds the program ``name`` on the container's PATH.

        Raises at once if the engine gives no answer.

        Args:
            container_id: a running container.
            name: the name of the program; no shell interprets it.
            user: ``uid:gid`` of a step. The check runs with gid 0 instead, so that no kill takes it for a process of a
                step.
            env: added to the environment of the container; a PATH in it replaces the image's.

        Raises:
            StepFailed: ``container_missing``: the container is gone or does not run.
        """

    def start(self, container_id: str, step: StepStart) -> str:
        """Start a step without waiting for it to begin, and return the engine's exec id.

        Raises at once if the engine gives no answer.

        Neither the return of this method nor an error proves whether the step began: only `RunDir.has_started` does. A
        run directory starts only one step. A second start with it, or a start after `RunDir.declare_never_started`,
        exits at once and leaves no trace in the directory.

        Raises:
            StepFailed: ``container_missing``: the container is gone or does not run. ``start_failed``, the fault of the
                container: it has no shell that could run the supervisor.
            EngineUnavailable: the step may have been started.
        """

    def exec_state(self, exec_id: str) -> ExecState | None:
        """Return the state of a started step; None if the engine does not know the exec, as after a restart.

        Repeats the request while the engine gives no answer.
        """

    def leftover_names(self, container_id: str, gid: int) -> list[str]:
        """Return the names of the processes that an execution's step left behind, in alphabetical order.

        These are the processes with the execution's gid, except its supervisor and the supervisor's descendants. They
        were started by the step and have lost their parent. Raises at once if the engine gives no answer.

        Args:
            container_id: a running container.
            gid: the gid of one execution.

        Returns:
            One name per process, at most 15 bytes long. The process itself can choose it, so it is untrusted text.

        Raises:
            StepFailed: ``container_missing``: the container is gone or does not run.
        """

    def kill_execution(self, container_id: str, gid: int, *, grace_seconds: float) -> KillResult:
        """Kill every process with ``gid``: send TERM, wait up to ``grace_seconds``, send KILL.

        Repeats the request while the engine gives no answer.

        Returns when no such process is left. The supervisor writes its exit record before it exits, unless the step
        ignored TERM, which gets the supervisor killed with it. If a process survives, or the container hinders the
        killing, the container is restarted. A container that is gone or stopped has no processes; this is not an error.

        Args:
            container_id: any container.
            gid: the gid of one execution. Processes that changed all their gids are not found; `end_leftovers` kills
                those.
            grace_seconds: the time between TERM and KILL, for a step that handles TERM.

        Raises:
            StepFailed, EngineUnavailable: the processes could not be killed, or their absence could not be verified.
        """

    def end_leftovers(self, container_id: str, keep_gids: Collection[int]) -> KillResult:
        """Kill, without TERM and grace, every process in a container that has none of ``keep_gids``.

        Repeats the request while the engine gives no answer.

        Processes of root are killed, too. PID 1 and Relay's own helpers survive. Results, restarts and errors are those
        of `kill_execution`.
        """

    def inspect(self, container_id: str) -> ContainerState:
        """Return the state of a container. A missing container has `ContainerState.exists` False.

        Repeats the request while the engine gives no answer.
        """

    def storage(self, container_id: str) -> Storage:
        """Return the host directories that a container writes to; they never change for one container.

        Raises at once if the engine gives no answer.

        Raises:
            StepFailed: ``container_missing``: the container is gone.
        """

    def layer_bytes(self, container_id: str) -> int:
        """Return the bytes that a container wrote into its own layer, with holes; 0 if it is gone.

        Raises at once if the engine gives no answer.
        """

    def stop(self, container_id: str) -> None:
        """Kill every process of a container and keep its files; do nothing if it is stopped or gone.

        Repeats the request while the engine gives no answer.
        """

    def restart(self, container_id: str) -> None:
        """Stop a container if it runs, then start it.

        Repeats the request while the engine gives no answer.

        Raises:
            StepFailed: ``container_missing``: the container is gone.
        """

    def remove(self, container_id: str) -> None:
        """Remove a container, running or not, and its volumes; do nothing if it is gone.

        Repeats the request while the engine gives no answer.
        """

    def list_ours(self, node_id: str) -> list[OurContainer]:
        """Return the workspace containers that have this node's label, running or not.

        Repeats the request while the engine gives no answer.
        """
