"""Completes a run, while it is cloned, from the job files of its repositories and the images of the node."""

from collections.abc import Sequence
from dataclasses import replace

from relay_core.domain import job_file
from relay_core.domain.errors import InvalidInput, StepFailed
from relay_core.domain.images import check_allowed, check_registry
from relay_core.domain.job_file import Fault, JobFile, JobFileInvalid, ServerRules
from relay_core.domain.job_settings import AGENT, JobSettings, complete, describe, image_of_agent
from relay_core.domain.limits import Limits
from relay_core.settings import Settings
from relay_core.store.executions.claim import Claimed
from relay_core.store.transaction import Database
from relay_core.store.workspaces import job_settings
from relay_core.store.workspaces.job_settings import OpenSettings
from relay_core.store.workspaces.workspace_row import WorkspaceRow
from relay_workers.containers.port import Containers
from relay_workers.execution.step_log import StepLog
from relay_workers.git.port import FetchedRemote, Git


class JobFiles:
    """Reads the job files of repositories, and chooses the image of an agent.

    Args:
        settings: decide which registries may be asked for images.
        database: stores limits before the container is made.
        git: reads the files from the mirrors.
        containers: knows the images of the node.
    """

    def __init__(self, settings: Settings, database: Database, git: Git, containers: Containers) -> None:
        self._settings = settings
        self._database = database
        self._git = git
        self._containers = containers

    def left_open(self, claimed: Claimed) -> OpenSettings | None:
        """Return what the run leaves to job files; None if nothing: a clone of the run has completed before."""
        with self._database.connect() as connection:
            return job_settings.read(connection, claimed.execution_id)

    def complete(
        self,
        claimed: Claimed,
        row: WorkspaceRow,
        found: OpenSettings | None,
        remotes: Sequence[FetchedRemote],
        log: StepLog,
    ) -> tuple[WorkspaceRow, JobSettings | None]:
        """Return the workspace with the values of its job files, and the settings to store when the clone ends.

        The settings are None if nothing is left open.

        Args:
            claimed: the clone.
            row: its workspace.
            found: the result of `left_open`.
            remotes: the repositories of the workspace, in order.
            log: gets a line for each job file.

        Raises:
            JobFileInvalid: a file has a fault, or asks for what the server or node does not allow.
            Stale: another worker owns the clone.
        """
        if found is None:
            return row, None
        terms, given = found.terms, found.settings
        files: list[JobFile | None] = [None] * len(remotes)
        if terms.read_files:
            files = [self._read(remote, terms.rules) for remote in remotes]
        settings = complete(given, terms, files, found.prompt)
        self._check_image(settings, files)
        settings = self._with_image_of_agent(settings, terms.rules)
        self._take_limits(claimed, given.limits, settings.limits, files)
        for remote, file in zip(remotes, files, strict=True):
            _report(settings, remote, file, log)
        return replace(row, image=settings.image, limits=settings.limits, executor=settings.executor), settings

    def _read(self, remote: FetchedRemote, rules: ServerRules) -> JobFile | None:
        found = self._git.files_of_target(remote, job_file.PATHS, job_file.MAX_BYTES)
        if not found:
            return None
        first = found[0]
        if len(found) > 1:
            raise JobFileInvalid(first.path, [Fault(1, f"{found[1].path} is there too; remove one of them")])
        if first.content is None:
            raise JobFileInvalid(first.path, [Fault(1, "it is a link or a directory; make it a file")])
        return job_file.parse(first.content, first.path, rules)

    def _check_image(self, settings: JobSettings, files: Sequence[JobFile | None]) -> None:
        first = files[0]
        if first is None or settings.sources.get("image") != first.path:
            return
        try:
            check_registry(settings.image, self._settings.remote_policy, self._settings.trusted_images)
        except InvalidInput as error:
            raise first.invalid(("image",), str(error)) from error

    def _with_image_of_agent(self, settings: JobSettings, rules: ServerRules) -> JobSettings:
        image = image_of_agent(settings)
        if image is None:
            return settings
        try:
            check_allowed(image, rules.allowed_images)
            self._containers.ensure_image(image)
        except (InvalidInput, StepFailed):  # not allowed, or not on this node: the server's default remains
            return settings
        return replace(settings, image=image, sources={**settings.sources, "image": AGENT})

    def _take_limits(self, claimed: Claimed, before: Limits, after: Limits, files: Sequence[JobFile | None]) -> None:
        first = files[0]
        if first is None or before == after:
            return
        with self._database.begin() as connection:
            refused = job_settings.take_limits(connection, claimed.execution_id, claimed.fence, after)
        if refused is not None:
            advice = "give it in the request (relay run --limit memory_bytes=…), which waits for a node with room"
            raise first.invalid(("limits",), f"the node has no room for these limits now ({refused}); {advice}")


def _report(settings: JobSettings, remote: FetchedRemote, file: JobFile | None, log: StepLog) -> None:
    if file is None:
        return
    given = describe(settings.sources, file.path) or "nothing that the request does not give"
    where = f"{remote.target_branch or 'HEAD'} at {remote.target_commit[:12]}"
    log.say(f"{file.path} of {where} gives {given}")
