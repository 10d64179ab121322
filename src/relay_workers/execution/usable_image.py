"""Pulls the image of a workspace, and checks before the clone that the workspace's steps can run in it."""

from collections.abc import Callable, Iterable
from functools import partial
from threading import Event

from relay_core.domain.agents.executors import ExecutorChoice, check_executor
from relay_core.domain.errors import StepFailed
from relay_core.domain.vocabulary import Reason
from relay_core.settings import Settings
from relay_core.store.workspaces.workspace_row import WorkspaceRow
from relay_workers.agents import programs
from relay_workers.agents.port import TurnRequest
from relay_workers.agents.registry import get_executor
from relay_workers.containers.docker.registry import vet_registry
from relay_workers.containers.port import WORKSPACE, Containers, ImageInfo, PullTerms
from relay_workers.containers.tool import ToolRun, ToolRunner

_SEEN: set[tuple[str, str]] = set()
"""Programs found before, as (image id, program). The files of an image id never change."""


class Images:
    """Pulls and checks the images of workspaces.

    Args:
        settings: limits of a pull.
        containers: pulls images.
        tool: looks for programs in an image.
    """

    def __init__(self, settings: Settings, containers: Containers, tool: ToolRunner) -> None:
        self._settings = settings
        self._containers = containers
        self._tool = tool

    def ensure(self, row: WorkspaceRow, stop: Event, tell: Callable[[bytes], None]) -> ImageInfo:
        """Return the image of a workspace; pull it if it is not on this node.

        Args:
            row: the workspace.
            stop: setting it cancels the pull.
            tell: gets lines about the progress of a pull.

        Raises:
            StepFailed: the image cannot be pulled; the message names a remedy.
        """
        return self._containers.ensure_image(row.image, self._terms(row, stop, tell))

    def check(self, row: WorkspaceRow, image: ImageInfo, uid: int, stop: Event) -> None:
        """Check that the steps of a workspace can run in its image. Setting ``stop`` cancels the check.

        Raises:
            StepFailed: `program_missing` or `image_unavailable`, with what is missing and a remedy.
        """
        _check_volumes(row, image)
        self._check_programs(row, image, uid, stop)

    def _terms(self, row: WorkspaceRow, stop: Event, tell: Callable[[bytes], None]) -> PullTerms:
        settings = self._settings
        bounds = (
            (float(row.limits.timeout_seconds), "limits.timeout_seconds"),
            (settings.image_pull_timeout_seconds, "RELAY_IMAGE_PULL_TIMEOUT_SECONDS"),
        )
        seconds, name = min(bounds)
        return PullTerms(
            judge=partial(vet_registry, row.image, settings, stop),
            cancelled=stop,
            seconds=seconds,
            seconds_are=name,
            max_bytes=settings.image_max_bytes,
            min_free_bytes=settings.node_min_free_bytes,
            tell=tell,
        )

    def _check_programs(self, row: WorkspaceRow, image: ImageInfo, uid: int, stop: Event) -> None:
        """Check that the image has the programs that every step and the executor need, and remember those found."""
        required = (*programs.EVERY_STEP, *_of_executor(row.executor))
        unknown = [program for program in required if (image.id, program) not in _SEEN]
        if not unknown:
            return
        found = self._tool.run(
            ToolRun(
                image=image.id,
                argv=tuple(programs.probe(unknown)),
                env={},
                mounts=(),
                user=f"{uid}:{uid}",
                memory_bytes=256 << 20,
                timeout_seconds=30,
            ),
            stop,
        )
        if stop.is_set():
            return
        if found.exit_code != 0:
            raise StepFailed(Reason.PROGRAM_MISSING, _no_shell(row, image, self._containers.platform()[0]))
        programs.require(row.image, found.output)
        _SEEN.update((image.id, program) for program in unknown)


def _of_executor(executor: ExecutorChoice) -> Iterable[str]:
    """Return the programs that the executor of a workspace needs; none if it has no executor yet."""
    if not executor.name:
        return ()
    choice = check_executor(executor.as_json())
    return get_executor(choice.name).required_programs(TurnRequest.of(choice, ""))


def _check_volumes(row: WorkspaceRow, image: ImageInfo) -> None:
    """Raise `StepFailed` if the image declares a volume below the workspace directory.

    Docker would put a directory of root, without a disk limit, over that part of the workspace.
    """
    hidden = sorted(path for path in image.volumes if path.rstrip("/").startswith(f"{WORKSPACE}/"))
    if hidden:
        message = (
            f"image {row.image} declares VOLUME {hidden[0]}, and Relay keeps its own directories below "
            f"{WORKSPACE}; remove that line from its Dockerfile, or ask for another image"
        )
        raise StepFailed(Reason.IMAGE_UNAVAILABLE, message)


def _no_shell(row: WorkspaceRow, image: ImageInfo, architecture: str) -> str:
    if image.architecture and image.architecture != architecture:
        return (
            f"The image {row.image} is for {image.architecture} and this node is {architecture}: "
            f"build or pull it for {architecture}"
        )
    return (
        f"The image {row.image} cannot run /bin/sh, which every step needs: "
        "install a shell in the image, or give one that holds it as `image`"
    )
