"""The bare git mirrors of a node: one for each remote of a project. Only this module lets git connect to a network.

Clones use the objects of a mirror, so Relay never removes an object from a mirror: no gc, no repack. But it removes
branches and tags that the remote deleted: they could block a later fetch (a branch ``a`` blocks a new branch ``a/b``).
Git checks fetched objects less strictly than objects that come from containers (`store`): many real histories contain
old flaws, and only git in a container reads them.

Git may exit with 0 although it did not update a ref. So Relay compares every branch and tag of the mirror with the refs
that the remote advertised.
"""

import fcntl
import os
import secrets
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from uuid import UUID

from relay_core.domain.errors import StepFailed
from relay_core.domain.git.start_ref import needs_own_fetch
from relay_core.domain.git.url import GitUrl
from relay_core.domain.vocabulary import Reason
from relay_core.settings import Settings
from relay_workers.git.host.advertisement import (
    HEADS,
    RELAY_HEAD,
    TAGS,
    Advertisement,
    TooManyRefs,
    read_listing,
    read_trace,
)
from relay_workers.git.host.fetched_mirror import FetchedMirror, describe
from relay_workers.git.host.process import Deadline, DeadlinePassed, GitJob, GitResult, run_git
from relay_workers.git.host.progress import ProgressLog
from relay_workers.git.host.ref_commit import asked_ref, find_commit, ref_missing
from relay_workers.git.host.remote import NOT_GIT, SHA256, WEB, Connection, connect, explain_failure

_REFSPECS = (f"+HEAD*:{RELAY_HEAD}*", "+refs/heads/*:refs/heads/*", "+refs/tags/*:refs/tags/*")
_DIRTY = "relay-fetching"
"""Name of a marker file in a mirror during a fetch; if a later fetch finds it, the previous fetch was killed."""
_LEAST_BYTES = 1 << 20
"""Git may always write files of this size, for example for refs, even if the mirror has reached its size limit."""
_REFS_NAMED = 5
_QUIET = ("--no-write-fetch-head", "--no-auto-maintenance", "--no-recurse-submodules")
_FETCH = ("fetch", "--progress", "--prune", "--force", "--update-shallow")
"""First arguments of a fetch.

``--update-shallow``: the remote may be a shallow clone; without it, git would refuse new commits beyond its boundary.
"""


@dataclass(frozen=True, slots=True)
class _Fetch:
    """One fetch: the remote's URL, git's settings for the connection, the receiver of output, and the time limit."""

    url: GitUrl
    connection: Connection
    on_output: Callable[[bytes], None]
    deadline: Deadline

    def failed(self, why: str) -> StepFailed:
        return StepFailed(Reason.CLONE_FAILED, f"cannot clone {self.url.display}: {why}")


class Mirrors:
    """The git mirrors below a data directory, which all workers of a node share."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def path(self, project_id: UUID, url: GitUrl) -> Path:
        """Return the path of a remote's mirror; the mirror need not exist."""
        key = sha256(url.text.encode()).hexdigest()[:16]
        return self._settings.data_dir / "mirrors" / str(project_id) / f"{key}.git"

    def fetch(
        self,
        project_id: UUID,
        url: GitUrl,
        progress: ProgressLog,
        deadline: Deadline,
        ref: str | None = None,
    ) -> FetchedMirror:
        """Update the mirror of a remote, or create it, with one connection to the remote; return the mirror's refs.

        A ref that is neither branch nor tag needs a second connection.

        After a failure, no part of a new mirror and no process is left.

        Args:
            project_id: the project to which the mirror belongs.
            url: the remote.
            progress: gets git's progress and messages, and is ended here.
            deadline: the time limit, and the event that cancels the fetch.
            ref: a branch, tag, commit id or full ref name whose commit is looked up, too; None: none is.

        Raises:
            StepFailed: reason ``clone_failed``, ``clone_timeout`` or ``disk_limit``.
            GitCancelled: the event of the deadline was set.
        """
        path = self.path(project_id, url)
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with _locked(path.with_suffix(".lock"), deadline):
                fetch = _Fetch(url, connect(url, self._settings, deadline), progress.write, deadline)
                if path.is_dir():
                    clear_after_crash(path)
                    remote = self._update(path, fetch)
                else:
                    remote = self._create(path, fetch)
                found = describe(path, remote)
                return found if ref is None else replace(found, ref_commit=self._commit_of(path, remote, ref, fetch))
        except TooManyRefs as error:
            raise StepFailed(Reason.CLONE_FAILED, f"cannot clone {url.display}: {error}") from error
        except DeadlinePassed as error:
            raise StepFailed(Reason.CLONE_TIMEOUT, f"cloning {url.display}: {error}") from error
        finally:
            progress.end()

    def remove(self, project_id: UUID, url: GitUrl, wanted: Callable[[], bool]) -> bool:
        """Remove a mirror, unless it is being fetched or ``wanted`` returns False; see `Git.remove_mirror`."""
        path = self.path(project_id, url)
        if not path.parent.is_dir():
            return wanted()
        with _try_locked(path.with_suffix(".lock")) as mine:
            if not (mine and wanted()):
                return False
            doomed = path.with_name(f"{path.name}.partial-{secrets.token_hex(4)}")
            with suppress(FileNotFoundError):
                path.rename(doomed)  # if this process dies now, the next fetch makes the mirror anew and removes this
            for left_over in path.parent.glob(f"{path.name}.partial-*"):
                shutil.rmtree(left_over)
            path.with_suffix(".lock").unlink()  # a fetch that waits for it looks again
        with suppress(OSError):  # the project has other mirrors
            path.parent.rmdir()
        return True

    def _create(self, path: Path, fetch: _Fetch) -> Advertisement:
        for left_over in path.parent.glob(f"{path.name}.partial-*"):
            shutil.rmtree(left_over)
        partial = path.with_name(f"{path.name}.partial-{secrets.token_hex(4)}")
        # Containers read the objects as other users, so the files must be readable to all, for any umask of the worker.
        shape = ("--bare", "--template=", "--no-local", "-c", "core.sharedRepository=0644")
        told = (
            "--progress",
            "--no-recurse-submodules",
        )  # not --quiet: git then tells nothing of the objects it receives
        argv = ("clone", *shape, *told, *fetch.connection.options, "--", fetch.connection.url, str(partial))
        try:
            remote = self._visit(argv, path, fetch)
            if remote.head is not None:  # `git clone` does not write this ref, unlike a later fetch
                job = GitJob(("update-ref", RELAY_HEAD, remote.head), git_dir=partial)
                run_git(job, fetch.deadline)
            _compare(partial, remote, fetch)
            partial.rename(path)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
        return remote

    def _update(self, path: Path, fetch: _Fetch) -> Advertisement:
        # A remote that was shallow at the last fetch may be complete by now.
        deepen = ("--unshallow",) if (path / "shallow").exists() else ()
        argv = (*_FETCH, *deepen, *_QUIET, *fetch.connection.options, "--", fetch.connection.url, *_REFSPECS)
        marker = path / _DIRTY
        marker.touch()
        remote = self._visit(argv, path, fetch, git_dir=path)
        _compare(path, remote, fetch)
        marker.unlink()
        return remote

    def _commit_of(self, path: Path, remote: Advertisement, ref: str, fetch: _Fetch) -> str:
        """Return the commit of a ref; fetch the ref first if it is neither branch nor tag.

        Raises:
            StepFailed: reason ``clone_failed``: the remote does not have the ref, or it is no commit.
        """
        if needs_own_fetch(ref):
            argv = ("fetch", "--progress", "--force", "--update-shallow", "--no-tags", *_QUIET)
            target = (*fetch.connection.options, "--", fetch.connection.url, f"+{ref}:{asked_ref(ref)}")
            marker = path / _DIRTY
            marker.touch()
            result = self._run((*argv, *target), fetch, git_dir=path, size=_size(path))
            marker.unlink()
            if result.exit_code and b"find remote ref" in result.errors:
                raise ref_missing(fetch.url, ref)
            if result.exit_code:
                raise StepFailed(Reason.CLONE_FAILED, explain_failure(result.errors, fetch.url))
        return find_commit(path, fetch.url, remote.refs, ref, fetch.deadline)

    def _visit(self, argv: tuple[str, ...], path: Path, fetch: _Fetch, git_dir: Path | None = None) -> Advertisement:
        """Run a git command that connects to the remote; return the refs that the remote advertised.

        Args:
            argv: arguments of git.
            path: directory of the mirror, also if it does not exist yet.
            fetch: the fetch to which the command belongs.
            git_dir: the repository in which git runs; None for a clone.

        Raises:
            StepFailed: reason ``clone_failed``: git failed, or the remote is empty or uses SHA-256.
        """
        trace = path.with_suffix(".trace")
        trace.unlink(missing_ok=True)
        try:
            result = self._run(argv, fetch, {"GIT_TRACE_PACKET": str(trace)}, git_dir, _size(path))
            if result.exit_code:
                raise StepFailed(Reason.CLONE_FAILED, explain_failure(result.errors, fetch.url))
            remote = _traced(trace)
        finally:
            trace.unlink(missing_ok=True)
        if remote is None:
            remote = self._listed(fetch)
            if remote.empty and fetch.url.scheme in WEB:
                raise fetch.failed(NOT_GIT)
        if remote.empty:
            raise fetch.failed("the repository is empty")
        if remote.sha256:
            raise fetch.failed(SHA256)
        return remote

    def _listed(self, fetch: _Fetch) -> Advertisement:
        """Return the refs of a remote that does not speak git's protocol; runs `git ls-remote`."""
        argv = ("ls-remote", "--symref", *fetch.connection.options, "--", fetch.connection.url)
        result = self._run(argv, fetch)
        if result.exit_code:
            raise StepFailed(Reason.CLONE_FAILED, explain_failure(result.errors, fetch.url))
        return read_listing(result.output.decode("utf-8", "surrogateescape").splitlines())

    def _run(
        self,
        argv: tuple[str, ...],
        fetch: _Fetch,
        env: Mapping[str, str] | None = None,
        git_dir: Path | None = None,
        size: int = 0,
    ) -> GitResult:
        room = min(self._settings.mirror_max_pack_bytes, self._settings.mirror_max_bytes - size, self._free(fetch))
        job = GitJob(
            argv,
            git_dir=git_dir,
            config=fetch.connection.config,
            env={**fetch.connection.env, **(env or {})},
            memory_bytes=self._settings.git_host_memory_bytes,
            file_bytes=max(_LEAST_BYTES, room),
            on_errors=fetch.on_output,
            watch=lambda: self._free(fetch),
        )
        return run_git(job, fetch.deadline)

    def _free(self, fetch: _Fetch) -> int:
        """Return how many bytes Relay may still write to the node's disk.

        Raises:
            StepFailed: reason ``disk_limit``: no more than the reserved free space is left.
        """
        free = shutil.disk_usage(self._settings.data_dir).free - self._settings.node_min_free_bytes
        if free <= 0:
            text = "the node's disk is full but for what stays free (RELAY_NODE_MIN_FREE_BYTES)"
            raise StepFailed(Reason.DISK_LIMIT, f"cannot clone {fetch.url.display}: {text}")
        return free


def _traced(trace: Path) -> Advertisement | None:
    try:
        with trace.open(encoding="latin-1") as lines:
            return read_trace(line.rstrip("\n") for line in lines)
    except FileNotFoundError:
        return None


def _compare(path: Path, remote: Advertisement, fetch: _Fetch) -> None:
    """Check that the mirror has every branch and tag of the remote; only log refs whose names git does not accept.

    Args:
        path: directory of the mirror.
        remote: the refs that the remote advertised.
        fetch: the fetch that updated the mirror.

    Raises:
        StepFailed: reason ``clone_failed``: a ref is missing or outdated, so a clone might start from an old commit.
    """
    job = GitJob(("for-each-ref", "--format=%(refname) %(objectname)"), git_dir=path)
    lines = run_git(job, fetch.deadline).output.decode("utf-8", "surrogateescape").splitlines()
    missing = remote.missing(dict(line.rsplit(" ", 1) for line in lines))
    odd = [name for name in missing if run_git(GitJob(("check-ref-format", name)), fetch.deadline).exit_code]
    if odd:
        fetch.on_output(f"relay: left out, because git does not accept these names: {_named(odd)}\n".encode())
    if refused := [name for name in missing if name not in odd]:
        raise fetch.failed(f"git did not bring these refs up to date with the remote: {_named(refused)}")


def _named(refs: list[str]) -> str:
    names = [name.removeprefix(HEADS).removeprefix(TAGS) for name in refs[:_REFS_NAMED]]
    more = f" and {len(refs) - _REFS_NAMED} more" if len(refs) > _REFS_NAMED else ""
    return ", ".join(names).encode("utf-8", "backslashreplace").decode() + more


def _size(path: Path) -> int:
    """Return the size of a mirror's packs in bytes; the other files of a mirror are small. 0 if it does not exist."""
    with suppress(FileNotFoundError):
        return sum(entry.stat().st_size for entry in os.scandir(path / "objects" / "pack"))
    return 0


def clear_after_crash(path: Path) -> None:
    """Remove the files that a killed fetch left in a mirror: locks, which would make git fail, and incomplete packs.

    The caller must hold the lock of the mirror.
    """
    marker = path / _DIRTY
    if not marker.exists():
        return
    for lock in [*path.glob("*.lock"), *path.glob("refs/**/*.lock")]:
        lock.unlink(missing_ok=True)
    for pack in path.glob("objects/pack/tmp_*"):
        pack.unlink(missing_ok=True)
    for folder in path.glob("objects/tmp_objdir-*"):
        shutil.rmtree(folder)
    marker.unlink()


@contextmanager
def _locked(path: Path, deadline: Deadline) -> Iterator[None]:
    """Hold a file lock that excludes other threads and workers of this node; the kernel releases it if the worker dies.

    Raises:
        GitCancelled: the event of the deadline was set while waiting for the lock.
        DeadlinePassed: the time limit passed while waiting for the lock.
    """
    while True:
        with _try_locked(path) as mine:
            if mine:
                yield
                return
        deadline.pause("waiting for another clone of the same remote")


@contextmanager
def _try_locked(path: Path) -> Iterator[bool]:
    """Hold the file lock of `_locked` if it is free; yield False if another thread or worker holds or removes it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except FileNotFoundError:  # the directory was removed with the last mirror of the project
        yield False
        return
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield os.fstat(descriptor).st_nlink > 0
    finally:
        os.close(descriptor)
