"""The `clone` run: directory, image, clones and container of a new workspace.

It has no process of its own to re-attach to, so it is idempotent: whoever takes it over repeats it.
"""

import os
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import Connection

from relay_core.domain import execution as machine
from relay_core.domain.errors import Stale, StepFailed
from relay_core.domain.executor_names import check_executor
from relay_core.domain.vocabulary import CloneState, Reason, WorkspaceState
from relay_core.postgres import workspaces
from relay_core.postgres.lifecycle import Claimed, Evidence
from relay_core.postgres.workspaces import WorkspaceRepoRow, WorkspaceRow
from relay_workers import leases
from relay_workers.context import WorkerContext
from relay_workers.engine.port import Account, ContainerLimits, ContainerSpec, ImageInfo, identity_labels
from relay_workers.engine.user import free_uid, has_account, resolve_uid
from relay_workers.environment import HOME, container_environment
from relay_workers.executors import programs
from relay_workers.executors.port import TurnRequest
from relay_workers.executors.registry import get_executor
from relay_workers.git.service import CloneRequest, CloneResult
from relay_workers.git.tool import ToolRun
from relay_workers.live import Control
from relay_workers.node import container_uid
from relay_workers.outcome import LetGo, Outcome, from_failure
from relay_workers.steplog import StepLog

_SEEN: set[tuple[str, str]] = set()
"""(image id, program): an image id names the same files for ever."""

SUBDIRECTORIES = ("repos", "runs", "home", "cache", "tmp")


@dataclass(frozen=True)
class _Place:
    """What is known once the image is."""

    row: WorkspaceRow
    directory: Path
    image: ImageInfo
    uid: int


def run(context: WorkerContext, claimed: Claimed, control: Control) -> Outcome:
    """Prepare the workspace, or say why it cannot be, leaving no partial directory."""
    log = StepLog(context.logs, context.live_logs, claimed.execution_id, claimed.fence)
    with context.database.connect() as connection:
        row = workspaces.load(connection, claimed.workspace_id)
    try:
        return _prepare(context, claimed, row, control, log)
    except StepFailed as error:
        leases.confirm(context, control)  # whose it is by now may be at work in the same places
        log.say(str(error))
        if not row.prepared:  # a retry that fails leaves the work of the steps before as it is
            context.git.remove_workspace(row.id, context.workspace_dir(row.id))
        return _failed(row, error, control, log)


def _prepare(context: WorkerContext, claimed: Claimed, row: WorkspaceRow, control: Control, log: StepLog) -> Outcome:
    directory = context.workspace_dir(row.id)
    _store_place(context, row, directory)
    image = context.engine.ensure_image(row.image)
    log.say(f"image {row.image} ({image.digest or image.id})")
    place = _Place(row, directory, image, _uid(context, row, image))
    _check_programs(context, place)
    _make_directories(place)
    kept = _kept_clones(context, place)
    clones, container_id = _clone_and_start(context, claimed, place, control, log)
    log.say(f"workspace is ready on branch {row.branch}")
    states = {
        repo.repo_id: {
            "after_head_commit": clone.head_commit,
            "branch": row.branch,
            "dirty": None if repo.name in kept else False,
        }
        for repo, clone in zip(row.repos, clones, strict=True)
    }

    def also(connection: Connection) -> None:
        for repo, clone in zip(row.repos, clones, strict=True):
            workspaces.record_clone(
                connection,
                row,
                repo.repo_id,
                mirror_path=str(clone.mirror_path),
                base_commit=(repo.base_commit if repo.name in kept else None) or clone.head_commit,
                branch=clone.target_branch,
            )
        workspaces.set_fields(
            connection, row.id, container_id=container_id, uid=place.uid, image_digest=image.digest or image.id
        )
        workspaces.set_state(connection, row.id, WorkspaceState.RUNNING)

    return Outcome(machine.completed(0), Evidence(repo_states=states, log_ends=log.ends()), also)


def _uid(context: WorkerContext, row: WorkspaceRow, image: ImageInfo) -> int:
    """The uid of the workspace's steps; once it is known it stays, as the files are that uid's."""
    if row.uid is not None:
        return row.uid
    named = resolve_uid(row.requested_uid, image.uid, container_uid(context.settings))
    if named is not None:
        return named
    span = context.settings.container_uid_range
    with context.database.begin() as connection:
        uid = workspaces.reserve_uid(
            connection, row.id, context.claimant.node_id, lambda taken: free_uid(row.id, span, taken, has_account)
        )
    if uid is None:
        message = f"all uids of RELAY_CONTAINER_UIDS ({span.start}-{span.stop - 1}) are used by workspaces of this node"
        raise StepFailed(Reason.ENGINE_ERROR, f"{message}; delete workspaces or give a wider range")
    return uid


def _kept_clones(context: WorkerContext, place: _Place) -> set[str]:
    """Clones of a workspace that is prepared once more: they stay as they are, and so does where they began."""
    if not place.row.prepared:
        return set()
    heads = context.git.heads(place.directory, [repo.name for repo in place.row.repos])
    return {name for name, head in heads.items() if head.commit is not None}


def _failed(row: WorkspaceRow, error: StepFailed, control: Control, log: StepLog) -> Outcome:
    clone_failed = error.reason in {Reason.CLONE_FAILED, Reason.CLONE_TIMEOUT}

    def also(connection: Connection) -> None:
        workspaces.set_state(connection, row.id, WorkspaceState.FAILED, str(error))
        if not row.prepared:  # its files are gone: the uid is free for another workspace
            workspaces.set_fields(connection, row.id, uid=None)
        for repo in row.repos if clone_failed else ():
            workspaces.set_clone_state(connection, row.project_id, repo.repo_id, CloneState.FAILED, error=str(error))

    transition = from_failure(error, kill_asked=control.kill.is_set())
    return Outcome(transition, Evidence(log_ends=log.ends()), also)


def _store_place(context: WorkerContext, row: WorkspaceRow, directory: Path) -> None:
    """Before the first byte is written, so that whoever cleans up knows where."""
    with context.database.begin() as connection:
        workspaces.set_fields(connection, row.id, work_dir=str(directory / "repos"), container_ref=str(directory))


def _check_programs(context: WorkerContext, place: _Place) -> None:
    """A missing program is said before anything is cloned; what an image has is remembered by its id."""
    choice = check_executor(place.row.executor)
    wanted = get_executor(choice.name).required_programs(TurnRequest.of(choice, ""))
    unknown = [program for program in wanted if (place.image.id, program) not in _SEEN]
    if not unknown:
        return
    found = context.tool.run(
        ToolRun(
            image=place.image.id,
            argv=tuple(programs.probe(unknown)),
            env={},
            mounts=(),
            user=f"{place.uid}:{place.uid}",
            memory_bytes=256 << 20,
            timeout_seconds=30,
        )
    )
    if found.exit_code != 0:
        raise StepFailed(Reason.PROGRAM_MISSING, f"image {place.row.image} cannot run /bin/sh, which every step needs")
    programs.require(place.row.image, found.output)
    _SEEN.update((place.image.id, program) for program in unknown)


def _make_directories(place: _Place) -> None:
    place.directory.mkdir(parents=True, exist_ok=True)
    place.directory.chmod(0o755)  # the workspace's user passes it inside the container, whatever this worker's umask is
    for name in SUBDIRECTORIES:
        path = place.directory / name
        path.mkdir(exist_ok=True)
        if os.geteuid() == 0:
            os.chown(path, place.uid, -1, follow_symlinks=False)


def _clone_and_start(
    context: WorkerContext, claimed: Claimed, place: _Place, control: Control, log: StepLog
) -> tuple[list[CloneResult], str]:
    """Clones and container at the same time where the mirrors are there already: neither needs the other's result."""
    mirrors = [context.git.mirror_path(place.row.project_id, repo.url) for repo in place.row.repos]
    with ThreadPoolExecutor(1, thread_name_prefix="container") as pool:
        early: Future[str] | None = None
        if all(mirror.is_dir() for mirror in mirrors):
            early = pool.submit(context.engine.ensure_container, _spec(context, place, mirrors))
        try:
            clones = [_clone(context, claimed, place, repo, control, log) for repo in place.row.repos]
            container_id = early.result() if early else context.engine.ensure_container(_spec(context, place, mirrors))
        except BaseException as error:
            if not isinstance(error, LetGo | Stale):
                leases.confirm(context, control)
                _remove_container(context, early)
            raise
    return clones, container_id


def _clone(
    context: WorkerContext,
    claimed: Claimed,
    place: _Place,
    repo: WorkspaceRepoRow,
    control: Control,
    log: StepLog,
) -> CloneResult:
    if control.kill.is_set() or control.lost.is_set():
        raise StepFailed(Reason.USER, "killed while the workspace was being prepared")
    log.say(f"cloning {repo.url}")
    return context.git.clone(
        CloneRequest(
            project_id=place.row.project_id,
            workspace_id=place.row.id,
            workspace_dir=place.directory,
            name=repo.name,
            url=repo.url,
            target_branch=repo.target_branch,
            branch=place.row.branch,
            uid=place.uid,
            gid=claimed.gid,
            on_output=log.write,
            cancelled=control.stop,
        )
    )


def _remove_container(context: WorkerContext, early: Future[str] | None) -> None:
    if early is not None and early.exception() is None:
        context.engine.remove(early.result())


def _spec(context: WorkerContext, place: _Place, mirrors: list[Path]) -> ContainerSpec:
    limits = place.row.limits
    return ContainerSpec(
        name=f"relay-{place.row.id}",
        image=place.image.id,
        labels=identity_labels(context.claimant.node_id, str(place.row.id)),
        workspace_dir=place.directory,
        supervisor_dir=context.settings.data_dir / "supervisor",
        limits=ContainerLimits(limits.memory_bytes, limits.cpus, limits.pids, limits.nofile),
        account=Account(place.uid, HOME),
        network=context.settings.container_network,
        mirror_dirs=tuple(mirrors),
        env=container_environment(context.settings, os.environ),
        ca_bundle=context.settings.ca_bundle,
    )
