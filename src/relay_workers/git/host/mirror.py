"""The node's bare mirrors: one for each remote of a project, the only place where git meets a network.

Clones borrow a mirror's objects, so no object is ever removed from one: no gc, no repack. Branches and tags that the
remote deleted do go, or a renamed branch could block every later fetch. Objects are not checked as strictly as those
that come out of containers (`store`): many real histories have old flaws, and only git in a container reads them.

Git may end with 0 and leave a ref behind, so every branch and tag is compared with what the remote advertised.
"""

import fcntl
import os
import secrets
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from uuid import UUID

from relay_core.domain.errors import StepFailed
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
from relay_workers.git.host.remote import NOT_GIT, SHA256, WEB, Connection, connect, explain_failure

_REFSPECS = (f"+HEAD*:{RELAY_HEAD}*", "+refs/heads/*:refs/heads/*", "+refs/tags/*:refs/tags/*")
_DIRTY = "relay-fetching"
"""Exists in a mirror while a fetch runs; found by the next one, it tells of a fetch that was killed."""
_LEAST_BYTES = 1 << 20
"""For refs and the like: what a mirror at its bound may still write."""
_REFS_NAMED = 5
_FETCH = ("fetch", "--progress", "--prune", "--force", "--update-shallow")
"""A remote may be shallow itself and move on: its new boundary is taken, or none of its new commits would be."""


@dataclass(frozen=True, slots=True)
class _Fetch:
    """One visit to a remote."""

    url: GitUrl
    connection: Connection
    on_output: Callable[[bytes], None]
    deadline: Deadline

    def failed(self, what: str) -> StepFailed:
        return StepFailed(Reason.CLONE_FAILED, f"cannot clone {self.url.display}: {what}")


class Mirrors:
    """The mirrors below one data directory; workers of the same node may share it."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def path(self, project_id: UUID, url: GitUrl) -> Path:
        """Where the mirror of a remote is or will be."""
        key = sha256(url.text.encode()).hexdigest()[:16]
        return self._settings.data_dir / "mirrors" / str(project_id) / f"{key}.git"

    def fetch(
        self, project_id: UUID, url: GitUrl, on_output: Callable[[bytes], None], deadline: Deadline
    ) -> FetchedMirror:
        """Bring a mirror up to date, or make it; one connection to the remote.

        No part of a new mirror stays behind where this fails, and no process.

        Raises:
            StepFailed: reason ``clone_failed``, ``clone_timeout`` or ``disk_limit``.
            GitCancelled: asked to end.
        """
        path = self.path(project_id, url)
        path.parent.mkdir(parents=True, exist_ok=True)
        progress = ProgressLog(on_output)
        try:
            with _locked(path.with_suffix(".lock"), deadline):
                fetch = _Fetch(url, connect(url, self._settings, deadline), progress.write, deadline)
                if path.is_dir():
                    clear_after_crash(path)
                    remote = self._update(path, fetch)
                else:
                    remote = self._create(path, fetch)
                return describe(path, remote)
        except TooManyRefs as error:
            raise StepFailed(Reason.CLONE_FAILED, f"cannot clone {url.display}: {error}") from error
        except DeadlinePassed as error:
            raise StepFailed(Reason.CLONE_TIMEOUT, f"cloning {url.display} took too long") from error
        finally:
            progress.end()

    def _create(self, path: Path, fetch: _Fetch) -> Advertisement:
        for left_over in path.parent.glob(f"{path.name}.partial-*"):
            shutil.rmtree(left_over)
        partial = path.with_name(f"{path.name}.partial-{secrets.token_hex(4)}")
        # Readable for the workspaces' users whatever the worker's umask is: containers borrow the objects.
        shape = ("--bare", "--template=", "--no-local", "-c", "core.sharedRepository=0644")
        quiet = ("--quiet", "--progress", "--no-recurse-submodules")
        argv = ("clone", *shape, *quiet, *fetch.connection.options, "--", fetch.connection.url, str(partial))
        try:
            remote = self._visit(argv, path, fetch)
            if remote.head is not None:  # as a later fetch has it
                job = GitJob(("update-ref", RELAY_HEAD, remote.head), git_dir=partial)
                run_git(job, fetch.deadline)
            _compare(partial, remote, fetch)
            partial.rename(path)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
        return remote

    def _update(self, path: Path, fetch: _Fetch) -> Advertisement:
        quiet = ("--no-write-fetch-head", "--no-auto-maintenance", "--no-recurse-submodules")
        # What the remote itself got since the last time, it may be whole by now.
        deepen = ("--unshallow",) if (path / "shallow").exists() else ()
        argv = (*_FETCH, *deepen, *quiet, *fetch.connection.options, "--", fetch.connection.url, *_REFSPECS)
        marker = path / _DIRTY
        marker.touch()
        remote = self._visit(argv, path, fetch, git_dir=path)
        _compare(path, remote, fetch)
        marker.unlink()
        return remote

    def _visit(self, argv: tuple[str, ...], path: Path, fetch: _Fetch, git_dir: Path | None = None) -> Advertisement:
        """Run one git command that talks to the remote; returns what the remote said that it has."""
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
        """Ask a remote that sent no packets."""
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
        """Bytes that may still be written on this node.

        Raises:
            StepFailed: reason ``disk_limit``: none.
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
    """See to it that every branch and tag of the remote got in.

    Raises:
        StepFailed: reason ``clone_failed``: one did not, so a clone might start from an old commit.
    """
    job = GitJob(("for-each-ref", "--format=%(refname) %(objectname)"), git_dir=path)
    lines = run_git(job, fetch.deadline).output.decode("utf-8", "surrogateescape").splitlines()
    missing = remote.missing(dict(line.rsplit(" ", 1) for line in lines))
    odd = [name for name in missing if run_git(GitJob(("check-ref-format", name)), fetch.deadline).exit_code]
    if odd:
        fetch.on_output(f"relay: left out, as git takes no such names: {_named(odd)}\n".encode())
    if refused := [name for name in missing if name not in odd]:
        raise fetch.failed(f"git did not take over what the remote has now of {_named(refused)}")


def _named(refs: list[str]) -> str:
    names = [name.removeprefix(HEADS).removeprefix(TAGS) for name in refs[:_REFS_NAMED]]
    more = f" and {len(refs) - _REFS_NAMED} more" if len(refs) > _REFS_NAMED else ""
    return ", ".join(names).encode("utf-8", "backslashreplace").decode() + more


def _size(path: Path) -> int:
    """Bytes of a mirror's packs: nearly all that it has."""
    with suppress(FileNotFoundError):
        return sum(entry.stat().st_size for entry in os.scandir(path / "objects" / "pack"))
    return 0


def clear_after_crash(path: Path) -> None:
    """Remove what a killed fetch leaves behind and git would stumble over; the caller holds the lock."""
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
    """Hold a file lock against other threads and workers of this node; the kernel frees it when a worker dies."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        while True:
            with suppress(BlockingIOError):
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            deadline.pause("waiting for another clone of the same remote")
        yield
    finally:
        os.close(descriptor)
