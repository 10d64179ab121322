"""The interface to a container engine: workspace containers and the steps that run in them.

Relay uses a container engine for nothing else, except for its own tools (`relay_workers.containers.tool`). Every method
of `Containers` may raise two errors, which its docstring does not repeat:

* `EngineUnavailable`: the engine or the node is at fault. The engine did not answer, or answered with an internal
  failure. It is unknown whether the request was carried out.
* `StepFailed` with the reason ``disk_pressure``: the node is at fault, because its disk is full.
"""

import socket
from collections.abc import Callable
from typing import Protocol

from relay_core.domain.errors import RelayError
from relay_workers.containers.answers import (
    MOST_IMAGES,
    ContainerState,
    EngineInfo,
    ImageInfo,
    KillResult,
    OurContainer,
    Storage,
)
from relay_workers.containers.pid1.answers import ExecutionStatus
from relay_workers.containers.pid1.messages import Key
from relay_workers.containers.pid1.step import TerminalSize
from relay_workers.containers.pid1.watcher import EndListener
from relay_workers.containers.specs import (
    CA_BUNDLE,
    CHANNEL,
    HIDDEN,
    LABEL_NODE,
    LABEL_ROLE,
    LABEL_WORKSPACE,
    PROGRAMS,
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
    "CHANNEL",
    "HIDDEN",
    "LABEL_NODE",
    "LABEL_ROLE",
    "LABEL_WORKSPACE",
    "MOST_IMAGES",
    "PROGRAMS",
    "WORKSPACE",
    "Account",
    "ContainerLimits",
    "ContainerSpec",
    "ContainerState",
    "Containers",
    "EngineInfo",
    "EngineUnavailable",
    "ImageInfo",
    "KillResult",
    "OurContainer",
    "PullTerms",
    "StepStart",
    "Storage",
    "TerminalSize",
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

    def start(self, container_id: str, step: StepStart) -> None:
        """Start a step, and return once its program is being executed.

        Raises at once if the container's first process gives no answer.

        Raises:
            StepFailed: the step was not started and this start of it cannot happen later. ``container_missing``: the
                container is gone or does not run. ``start_failed``: its program cannot be executed, or the container
                has too many processes. ``disk_pressure``, ``internal_error``: its files cannot be opened.
            Conflict: this start was carried out, or forbidden, before.
            EngineUnavailable: the step may have been started; `forbid` decides.
        """

    def forbid(self, container_id: str, key: Key) -> bool:
        """Declare that a start never happens; return False if it has happened. Exactly one of both holds.

        Repeats the request while the container's first process gives no answer.

        Raises:
            StepFailed: ``container_missing``: the container is gone or does not run.
        """

    def pty(self, container_id: str, key: Key) -> int:
        """Return the descriptor of the master of a step's terminal, nonblocking, which the caller closes.

        What is written to it is typed on the terminal. The step's output is in its log; do not read it here.
        Raises at once if the container's first process gives no answer.

        Raises:
            StepFailed: ``container_missing``: the container is gone or does not run.
            Conflict: ``no_terminal``: the step has none. ``not_running``: it has ended.
            NotFound: it was never started.
        """

    def resize(self, container_id: str, key: Key, size: TerminalSize) -> None:
        """Change the size of a step's terminal. Raises as `pty` does."""

    def status(self, container_id: str, key: Key) -> ExecutionStatus:
        """Return the state of an execution in a running container.

        Raises at once if the container's first process gives no answer.

        Raises:
            StepFailed: ``container_missing``: the container is gone or does not run.
            RelayError: this start of it did not happen, or too many others happened since.
        """

    def watch(self, container_id: str, key: Key, heard: EndListener) -> Callable[[], None]:
        """Hear of the end of a step from its container, even if the disk with its record does not answer.

        Raises nothing: the record tells the same.

        Args:
            container_id: a container.
            key: the start of the execution.
            heard: called on another thread once the step has ended, also if that was before this call, and once
                more when nothing more is written to its files.

        Returns:
            A function that ends this.
        """

    def leftover_names(self, container_id: str, key: Key) -> list[str]:
        """Return the names of the processes that an execution's step left behind, in alphabetical order.

        Raises at once if the container's first process gives no answer.

        Args:
            container_id: a running container.
            key: the start of the execution.

        Returns:
            One name per process, at most 15 bytes long. The process itself can choose it, so it is untrusted text.

        Raises:
            StepFailed: ``container_missing``: the container is gone or does not run.
        """

    def kill_execution(self, container_id: str, key: Key, *, grace_seconds: float) -> KillResult:
        """Kill every process of an execution: send TERM, wait up to ``grace_seconds``, send KILL.

        Repeats the request while the engine gives no answer.

        Returns when no process of it is left: none that descends from its step, and none with its gid. If processes
        survive, or the container's first process does not answer, the container is restarted. A container that is gone
        or stopped has no processes; this is not an error.

        Args:
            container_id: any container.
            key: the start of the execution.
            grace_seconds: the time between TERM and KILL, for a step that handles TERM.

        Raises:
            StepFailed, EngineUnavailable: the processes could not be killed, or their absence could not be verified.
        """

    def dial(self, container_id: str, port: int) -> socket.socket:
        """Return a connection to a port of a container's loopback address, which the caller closes.

        Raises at once if the container's first process gives no answer.

        Raises:
            StepFailed: ``container_missing``: the container is gone or does not run.
            RelayError: nothing accepts a connection there.
        """

    def answers(self, container_id: str) -> bool:
        """Return whether the container's first process answers, so that steps can be started.

        Usually this asks the container and not the engine. False proves nothing: `inspect` tells why. Raises nothing.
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
