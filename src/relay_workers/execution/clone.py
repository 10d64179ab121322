"""Carries out the `clone` execution: prepares the directory, image, clones and container of a new workspace.

It has no process in the container that another worker could attach to. So it can be repeated without harm: a worker
that takes the execution over runs it again from the start.
"""

import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from functools import partial
from typing import Any
from uuid import UUID

from relay_core.domain import execution as machine
from relay_core.domain.errors import Stale, StepFailed
from relay_core.domain.vocabulary import Reason
from relay_core.store.executions.claim import Claimed
from relay_core.store.executions.finish import Evidence
from relay_core.store.outage import is_away
from relay_core.store.workspaces.workspace_row import WorkspaceRepoRow, WorkspaceRow
from relay_workers.containers.port import EngineUnavailable, ImageInfo
from relay_workers.execution.copied_files import CopiedFiles
from relay_workers.execution.imported_states import ImportedStates
from relay_workers.execution.job_files import JobFiles
from relay_workers.execution.mirrors import MirrorFetches
from relay_workers.execution.outcome import (
    CloneRecord,
    Outcome,
    PreparedWorkspace,
    RemovedWorkspace,
    as_failure,
    end_of,
)
from relay_workers.execution.progress_events import Tell
from relay_workers.execution.step_log import StepLog
from relay_workers.execution.usable_image import Images
from relay_workers.execution.workspace import Workspaces
from relay_workers.execution.workspace_container import ContainerPlan, WorkspaceContainers
from relay_workers.git.act_requests import RecordedStart
from relay_workers.git.port import CloneRequest, CloneResult, FetchedRemote, FetchRequest, Git
from relay_workers.host_files.anchors import make_hidden
from relay_workers.ownership.leases import Leases
from relay_workers.ownership.live_executions import ExecutionControl, OwnershipLost

_POLL_SECONDS = 0.1
"""Seconds between two checks for a kill or a shutdown, while the container engine makes the container."""

SUBDIRECTORIES = ("repos", "home", "cache", "tmp")

OpenLog = Callable[[Claimed, WorkspaceRow, ExecutionControl], StepLog]
"""Opens the log of a `clone` execution; the worker itself writes to it."""


@dataclass(frozen=True)
class Choice:
    """The parts that choose what a workspace is made of."""

    mirrors: MirrorFetches
    job_files: JobFiles
    images: Images
    copied_files: CopiedFiles
    imported: ImportedStates


class WorkspacePreparation:
    """Prepares workspaces. Each worker has one.

    Args:
        workspaces: rows and directories of workspaces.
        git: makes the clones.
        choice: fetches the remotes; completes the run from job files; pulls and checks its image; copies files; brings
            clones of an imported workspace to their states.
        containers: makes the containers.
        leases: confirm that this worker owns the execution, before files or containers are removed.
        open_log: opens the execution's log.
    """

    def __init__(
        self,
        workspaces: Workspaces,
        git: Git,
        choice: Choice,
        containers: WorkspaceContainers,
        leases: Leases,
        open_log: OpenLog,
    ) -> None:
        self._workspaces = workspaces
        self._git = git
        self._mirrors, self._job_files, self._images = choice.mirrors, choice.job_files, choice.images
        self._copied_files, self._imported = choice.copied_files, choice.imported
        self._containers = containers
        self._leases = leases
        self._open_log = open_log

    def run(self, claimed: Claimed, control: ExecutionControl) -> Outcome:
        """Prepare the workspace and return the outcome.

        On a failure, remove the files of a workspace that was never ready.

        Raises:
            OwnershipLost: another worker owns the execution, or this worker shuts down.
            Stale: another worker owns the execution.
        """
        row = self._workspaces.row(claimed.workspace_id)
        with self._open_log(claimed, row, control) as log, self._mirrors.progress_of(claimed) as tell:
            try:
                return self._prepare(claimed, row, control, log, tell)
            except (OwnershipLost, Stale):
                raise
            except Exception as error:
                if control.lost.is_set() or is_away(error):
                    raise
                return self._failed(row, control, log, as_failure(error))

    def _prepare(
        self, claimed: Claimed, row: WorkspaceRow, control: ExecutionControl, log: StepLog, tell: Tell
    ) -> Outcome:
        self._workspaces.store_place(row)
        left_open = self._job_files.left_open(claimed)
        if left_open is None or left_open.settings.requested:
            self._check_image(row, control, log)
        remotes = [self._fetch(row, repo, control, log, tell) for repo in row.repos]
        check_wanted(control)
        row, settings = self._job_files.complete(claimed, row, left_open, remotes, log)
        image = self._images.ensure(row, control.stop, log.write)
        check_wanted(control)
        log.say(f"image {row.image} ({image.digest or image.id})")
        plan = self._plan(row, image, log)
        self._images.check(row, image, plan.uid, control.stop)
        check_wanted(control)
        _make_directories(plan)
        kept = self._kept_clones(plan)
        clones, container_id = self._clone_and_start(claimed, plan, remotes, control, log)
        clones = self._imported.bring_back(claimed, plan, clones, kept, control, log)
        copied = {
            repo.repo_id: self._copied_files.copy(row.project_id, repo, plan.directory, plan.uid, log)
            for repo in row.repos
        }
        log.say(f"workspace is ready on branch {row.branch}")
        workspace = PreparedWorkspace(
            row, container_id, plan.uid, image.digest or image.id, _records(row, clones, kept, copied), settings
        )
        evidence = Evidence(repo_states=_states(row, clones, kept), log_ends=log.ends())
        return Outcome(machine.completed(0), evidence, gone=True, workspace=workspace)

    def _failed(self, row: WorkspaceRow, control: ExecutionControl, log: StepLog, failure: StepFailed) -> Outcome:
        """Return the outcome of a failure.

        Storing it (`store.executions.finish.finish`) also marks the workspace as failed.

        The files of a workspace that was ready before are kept, so that a failed retry loses no work.
        """
        self._leases.confirm(control)  # another worker may own the execution now and use the same directory
        log.say(str(failure))
        removed = False
        if not row.prepared:
            try:
                self._git.remove_workspace(row.id, self._workspaces.directory(row.id))
                removed = True
            except (StepFailed, EngineUnavailable, OSError) as error:
                log.say(f"what was made of the workspace is still on the node: {error}")
        transition = end_of(failure, kill_asked=control.kill.is_set())
        workspace = RemovedWorkspace() if removed else None
        return Outcome(transition, Evidence(log_ends=log.ends()), gone=True, workspace=workspace)

    def _check_image(self, row: WorkspaceRow, control: ExecutionControl, log: StepLog) -> None:
        """Get and check an image that no job file can change, before anything is fetched."""
        image = self._images.ensure(row, control.stop, log.write)
        check_wanted(control)
        self._images.check(row, image, self._containers.uid(row, image), control.stop)
        check_wanted(control)

    def _plan(self, row: WorkspaceRow, image: ImageInfo, log: StepLog) -> ContainerPlan:
        plan = ContainerPlan(row, self._workspaces.directory(row.id), image, self._containers.uid(row, image))
        processors = self._containers.processors
        if row.limits.cpus > processors:
            log.say(f"limits.cpus is {row.limits.cpus:g}; this node has {processors}, so that is the limit")
        return plan

    def _kept_clones(self, plan: ContainerPlan) -> set[str]:
        """Return the names of clones that an earlier preparation completed; they keep their recorded base commit."""
        if not plan.row.prepared:
            return set()
        heads = self._git.heads(plan.directory, [repo.name for repo in plan.row.repos])
        return {name for name, head in heads.items() if head.commit is not None}

    def _clone_and_start(
        self,
        claimed: Claimed,
        plan: ContainerPlan,
        remotes: Sequence[FetchedRemote],
        control: ExecutionControl,
        log: StepLog,
    ) -> tuple[list[CloneResult], str]:
        """Make the clones and, in parallel, the container, which mounts the mirrors."""
        pool = ThreadPoolExecutor(1, thread_name_prefix="container")
        container: Future[str] | None = None
        try:
            container = pool.submit(self._containers.create, plan, [remote.mirror_path for remote in remotes])
            clones = [
                self._clone(plan, repo, remote, claimed.gid, control, log)
                for repo, remote in zip(plan.row.repos, remotes, strict=True)
            ]
            check_wanted(control)
            return clones, await_container(container, control)
        except BaseException as error:
            if container is not None and not isinstance(error, OwnershipLost | Stale):
                self._leases.confirm(control)
                late = not container.done()
                container.add_done_callback(partial(self._containers.discard, plan.row.id, late=late))
            raise
        finally:
            pool.shutdown(wait=False)  # do not wait for the engine: it may hang, and a kill must not

    def _fetch(
        self, row: WorkspaceRow, repo: WorkspaceRepoRow, control: ExecutionControl, log: StepLog, tell: Tell
    ) -> FetchedRemote:
        check_wanted(control)
        log.say(f"cloning {repo.url}")
        branch, on_progress = repo.target_branch, partial(tell, repo.url)
        request = FetchRequest(row.project_id, repo.url, branch, log.write, control.stop, _ref(repo), on_progress)
        return self._mirrors.fetch(request)

    def _clone(
        self,
        plan: ContainerPlan,
        repo: WorkspaceRepoRow,
        remote: FetchedRemote,
        gid: int,
        control: ExecutionControl,
        log: StepLog,
    ) -> CloneResult:
        check_wanted(control)
        return self._git.clone(
            CloneRequest(
                project_id=plan.row.project_id,
                workspace_id=plan.row.id,
                workspace_dir=plan.directory,
                name=repo.name,
                url=repo.url,
                target_branch=repo.target_branch,
                branch=plan.row.branch,
                uid=plan.uid,
                gid=gid,
                on_output=log.write,
                cancelled=control.stop,
                ref=_ref(repo),
                remote=remote,
                start=_start(plan.row, repo),
            )
        )


def _start(row: WorkspaceRow, repo: WorkspaceRepoRow) -> RecordedStart | None:
    if row.forked_from is None or repo.start_commit is None or repo.start_store is None:
        return None
    return RecordedStart(row.forked_from, repo.start_store, repo.start_commit, repo.start_base_commit or "")


def _ref(repo: WorkspaceRepoRow) -> str | None:
    """Return the ref from which a clone starts; that of an imported workspace starts where it started before."""
    return repo.ref if repo.restore_commit is None else repo.base_commit


def check_wanted(control: ExecutionControl) -> None:
    """Raise an error if the preparation should not go on. Called before each part of the preparation.

    Raises:
        OwnershipLost: another worker owns the execution, or this worker shuts down.
        StepFailed: `user`: the execution was killed.
    """
    if control.lost.is_set():
        raise OwnershipLost
    if control.kill.is_set():
        raise StepFailed(Reason.USER, "killed while the workspace was being prepared")


def await_container(container: "Future[str]", control: ExecutionControl) -> str:
    """Wait until the container is made and return its id.

    Raises:
        OwnershipLost: another worker owns the execution, or this worker shuts down.
        StepFailed: `user`: the execution was killed; or the error of the engine.
    """
    while not wait([container], timeout=_POLL_SECONDS).done:
        check_wanted(control)
    return container.result()


def _make_directories(plan: ContainerPlan) -> None:
    plan.directory.mkdir(parents=True, exist_ok=True)
    plan.directory.chmod(0o755)  # the workspace's user in the container must be able to enter it, whatever the umask
    make_hidden(plan.directory)
    for name in SUBDIRECTORIES:
        path = plan.directory / name
        path.mkdir(exist_ok=True)
        if os.geteuid() == 0:
            os.chown(path, plan.uid, -1, follow_symlinks=False)


def _records(
    row: WorkspaceRow, clones: list[CloneResult], kept: set[str], copied: Mapping[UUID, tuple[str, ...]]
) -> list[CloneRecord]:
    return [
        CloneRecord(
            repo.repo_id,
            str(clone.mirror_path),
            (repo.base_commit if repo.name in kept or repo.restore_commit else None)
            or clone.base_commit
            or clone.head_commit,
            clone.target_branch,
            copied.get(repo.repo_id, ()),
        )
        for repo, clone in zip(row.repos, clones, strict=True)
    ]


def _states(row: WorkspaceRow, clones: list[CloneResult], kept: set[str]) -> dict[UUID, dict[str, Any]]:
    """Return the git state of each repository by repository id. `dirty` is None (unknown) for a clone that was kept."""
    return {
        repo.repo_id: {
            "after_head_commit": clone.head_commit,
            "branch": row.branch,
            "dirty": None if repo.name in kept else False,
        }
        for repo, clone in zip(row.repos, clones, strict=True)
    }
