"""The `clone` run: directory, image, clones and container of a new workspace.

It has no process of its own to re-attach to, so it is idempotent: whoever takes it over repeats it.
"""

import os
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from uuid import UUID

import structlog
from sqlalchemy import Connection
from sqlalchemy.exc import SQLAlchemyError

from relay_core.domain import execution as machine
from relay_core.domain.errors import RelayError, Stale, StepFailed
from relay_core.domain.vocabulary import Reason, WorkspaceState
from relay_core.store.executions.lifecycle import Claimed, Evidence
from relay_core.store.outage import is_away
from relay_core.store.workspaces import workspace_rows
from relay_core.store.workspaces.workspace_rows import WorkspaceRepoRow, WorkspaceRow
from relay_workers.containers.docker.user import free_uid, has_account, resolve_uid
from relay_workers.containers.port import (
    Account,
    ContainerLimits,
    ContainerSpec,
    EngineUnavailable,
    ImageInfo,
    container_name,
    identity_labels,
)
from relay_workers.execution import usable_image
from relay_workers.execution.context import WorkerContext
from relay_workers.execution.environment import HOME, container_environment
from relay_workers.execution.outcome import LetGo, Outcome, as_failure, from_failure
from relay_workers.execution.step_log import StepLog
from relay_workers.git.service import CloneRequest, CloneResult
from relay_workers.ownership import leases
from relay_workers.ownership.admission import capacity_of
from relay_workers.ownership.live_executions import Control
from relay_workers.ownership.node_identity import container_uid

log = structlog.get_logger(__name__)

_POLL_SECONDS = 0.1

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
    with context.database.connect() as connection:
        row = workspace_rows.load(connection, claimed.workspace_id)
    writes = StepLog(
        context.logs,
        context.live_logs,
        claimed.execution_id,
        claimed.fence,
        log_bytes=row.limits.log_bytes,
        lost=control.lost,
    )
    with writes as log:
        try:
            return _prepare(context, claimed, row, control, log)
        except (LetGo, Stale):
            raise
        except Exception as error:
            if control.lost.is_set() or is_away(error):
                raise
            return _given_up(context, row, control, log, as_failure(error))


def _given_up(
    context: WorkerContext, row: WorkspaceRow, control: Control, log: StepLog, failure: StepFailed
) -> Outcome:
    """The end of a clone, whatever went wrong; `lifecycle.finish` fails the workspace with it."""
    leases.confirm(context, control)  # whose it is by now may be at work in the same places
    log.say(str(failure))
    removed = False
    if not row.prepared:  # a retry that fails leaves the work of the steps before as it is
        try:
            context.git.remove_workspace(row.id, context.workspace_dir(row.id))
            removed = True
        except (StepFailed, EngineUnavailable, OSError) as error:
            log.say(f"what was made of the workspace is still on the node: {error}")

    def also(connection: Connection) -> None:
        if removed:  # its files are gone: the uid is free for another workspace
            workspace_rows.set_fields(connection, row.id, uid=None)

    return Outcome(
        from_failure(failure, kill_asked=control.kill.is_set()), Evidence(log_ends=log.ends()), also, gone=True
    )


def _prepare(context: WorkerContext, claimed: Claimed, row: WorkspaceRow, control: Control, log: StepLog) -> Outcome:
    directory = context.workspace_dir(row.id)
    _store_place(context, row, directory)
    image = context.containers.ensure_image(row.image, usable_image.pull_terms(context, row, control.stop))
    _go_on(control)
    log.say(f"image {row.image} ({image.digest or image.id})")
    place = _Place(row, directory, image, _uid(context, row, image))
    processors = context.containers.platform()[1]
    if row.limits.cpus > processors:
        log.say(f"limits.cpus is {row.limits.cpus:g}; this node has {processors}, so that is the limit")
    usable_image.check(context, row, image, place.uid, control.stop)
    _go_on(control)
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
        for repo, clone in sorted(zip(row.repos, clones, strict=True), key=lambda pair: pair[0].repo_id):
            workspace_rows.record_clone(
                connection,
                row,
                repo.repo_id,
                mirror_path=str(clone.mirror_path),
                base_commit=(repo.base_commit if repo.name in kept else None) or clone.head_commit,
                branch=clone.target_branch,
            )
        workspace_rows.set_fields(
            connection, row.id, container_id=container_id, uid=place.uid, image_digest=image.digest or image.id
        )
        if workspace_rows.clone_completed(
            connection, claimed.execution_id
        ):  # else a kill came while it was about to end
            workspace_rows.set_state(connection, row.id, WorkspaceState.RUNNING)

    return Outcome(machine.completed(0), Evidence(repo_states=states, log_ends=log.ends()), also, gone=True)


def _uid(context: WorkerContext, row: WorkspaceRow, image: ImageInfo) -> int:
    """The uid of the workspace's steps; once it is known it stays, as the files are that uid's."""
    if row.uid is not None:
        return row.uid
    named = resolve_uid(row.requested_uid, image.uid, container_uid(context.settings))
    if named is not None:
        return named
    span = context.settings.container_uid_range
    with context.database.begin() as connection:
        uid = workspace_rows.reserve_uid(
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


def _store_place(context: WorkerContext, row: WorkspaceRow, directory: Path) -> None:
    """Before the first byte is written, so that whoever cleans up knows where."""
    with context.database.begin() as connection:
        workspace_rows.set_fields(connection, row.id, work_dir=str(directory / "repos"), container_ref=str(directory))


def _go_on(control: Control) -> None:
    """Return unless the end was asked for; between any two steps of the preparation.

    Raises:
        LetGo: the run is another worker's.
        StepFailed: it was killed.
    """
    if control.lost.is_set():
        raise LetGo
    if control.kill.is_set():
        raise StepFailed(Reason.USER, "killed while the workspace was being prepared")


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
    pool = ThreadPoolExecutor(1, thread_name_prefix="container")
    container: Future[str] | None = None
    try:
        if all(mirror.is_dir() for mirror in mirrors):
            container = pool.submit(context.containers.ensure_container, _spec(context, place, mirrors))
        clones = [_clone(context, claimed, place, repo, control, log) for repo in place.row.repos]
        _go_on(control)
        container = container or pool.submit(context.containers.ensure_container, _spec(context, place, mirrors))
        return clones, _await(container, control)
    except BaseException as error:
        if container is not None and not isinstance(error, LetGo | Stale):
            leases.confirm(context, control)
            late = not container.done()
            container.add_done_callback(partial(_discard, context, place.row.id, late=late))
        raise
    finally:
        pool.shutdown(wait=False)  # an engine that hangs keeps no kill waiting


def _await(container: "Future[str]", control: Control) -> str:
    """The container's id, unless the end is asked for first."""
    while not wait([container], timeout=_POLL_SECONDS).done:
        _go_on(control)
    return container.result()


def _discard(context: WorkerContext, workspace_id: UUID, container: "Future[str]", *, late: bool) -> None:
    """Remove the container of a workspace whose preparation failed, at once or when the engine has made it.

    By then a retry may have begun, which finds it by its name and keeps it. What stays by mistake, a sweep removes.
    """
    if container.exception() is not None:
        return
    try:
        if late:
            with context.database.connect() as connection:
                if workspace_rows.load(connection, workspace_id).state is not WorkspaceState.FAILED:
                    return
        context.containers.remove(container.result())
    except (RelayError, SQLAlchemyError) as error:
        log.warning("a container is left to a sweep", workspace_id=str(workspace_id), error=str(error))


def _clone(
    context: WorkerContext,
    claimed: Claimed,
    place: _Place,
    repo: WorkspaceRepoRow,
    control: Control,
    log: StepLog,
) -> CloneResult:
    _go_on(control)
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


def _spec(context: WorkerContext, place: _Place, mirrors: list[Path]) -> ContainerSpec:
    limits = place.row.limits
    cpus = min(limits.cpus, context.containers.platform()[1])
    pids = min(
        limits.pids, capacity_of(context.settings).pids or limits.pids
    )  # one alone must not take all of the host's
    return ContainerSpec(
        name=container_name(str(place.row.id)),
        image=place.image.id,
        labels=identity_labels(context.claimant.node_id, str(place.row.id)),
        workspace_dir=place.directory,
        supervisor_dir=context.settings.data_dir / "supervisor",
        limits=ContainerLimits(limits.memory_bytes, cpus, pids, limits.nofile),
        account=Account(place.uid, HOME),
        network=context.settings.container_network,
        mirror_dirs=tuple(mirrors),
        env=container_environment(context.settings, os.environ),
        ca_bundle=context.settings.ca_bundle,
    )
