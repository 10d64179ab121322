"""The node's bare mirrors: one for each remote of a project, the only place where git meets a network.

Clones borrow a mirror's objects, so no object is ever removed from one: no gc, no repack. Branches and tags that the
remote deleted do go, or a renamed branch could block every later fetch. Objects are not checked as strictly as those
that come out of containers (`store`): many real histories have old flaws, and only git in a container reads them.
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

from git import GitCmdObjectDB, Repo
from git.exc import GitError

from relay_core.domain.errors import StepFailed
from relay_core.domain.git_url import GitUrl
from relay_core.domain.vocabulary import Reason
from relay_core.settings import Settings
from relay_workers.git.process import Control, GitJob, GitResult, OutOfTime, run_git
from relay_workers.git.remote import Connection, connect, explain_failure

_REFSPECS = ("+HEAD*:refs/relay/HEAD*", "+refs/heads/*:refs/heads/*", "+refs/tags/*:refs/tags/*")
_DIRTY = "relay-fetching"
"""Exists in a mirror while a fetch runs; found by the next one, it tells of a fetch that was killed."""
_BRANCHES_NAMED = 8


class RemoteHead(StepFailed):
    """What was to be checked out is not there."""

    def __init__(self, message: str) -> None:
        super().__init__(Reason.CLONE_FAILED, message)


@dataclass(frozen=True, slots=True)
class Target:
    """What a clone starts from."""

    branch: str
    commit: str


@dataclass(frozen=True, slots=True)
class Mirror:
    """A mirror as the fetch left it."""

    path: Path
    default_branch: str | None
    """The branch that the remote's HEAD names."""
    heads: Mapping[str, str]
    """Commit of each branch."""

    def target(self, branch: str | None) -> Target:
        """The named branch, or the remote's default.

        Raises:
            StepFailed: reason ``clone_failed``; the message lists some branches that there are.
        """
        name = branch or self.default_branch
        if name is None:
            raise RemoteHead(f"the remote names no default branch; give target_branch ({self._some_branches()})")
        if name not in self.heads:
            raise RemoteHead(f"the remote has no branch {name!r} ({self._some_branches()})")
        return Target(name, self.heads[name])

    def _some_branches(self) -> str:
        names = sorted(self.heads, key=lambda name: (name not in {"main", "master"}, name))
        more = ", …" if len(names) > _BRANCHES_NAMED else ""
        return f"it has {', '.join(names[:_BRANCHES_NAMED])}{more}"


class Mirrors:
    """The mirrors below one data directory; workers of the same node may share it."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def path(self, project_id: UUID, url: GitUrl) -> Path:
        """Where the mirror of a remote is or will be."""
        key = sha256(url.text.encode()).hexdigest()[:16]
        return self._settings.data_dir / "mirrors" / str(project_id) / f"{key}.git"

    def fetch(self, project_id: UUID, url: GitUrl, on_output: Callable[[bytes], None], control: Control) -> Mirror:
        """Bring a mirror up to date, or make it; one connection to the remote.

        No part of a new mirror stays behind where this fails, and no process.

        Raises:
            StepFailed: reason ``clone_failed`` or ``clone_timeout``.
            Cancelled: asked to end.
        """
        path = self.path(project_id, url)
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with _locked(path.with_suffix(".lock"), control):
                connection = connect(url, self._settings, control)
                if path.is_dir():
                    _clear_after_crash(path)
                    self._update(path, url, connection, on_output, control)
                else:
                    self._create(path, url, connection, on_output, control)
                return _described(path, url, control)
        except OutOfTime as error:
            raise StepFailed(Reason.CLONE_TIMEOUT, f"cloning {url.display} took too long") from error

    def _create(
        self, path: Path, url: GitUrl, connection: Connection, on_output: Callable[[bytes], None], control: Control
    ) -> None:
        for left_over in path.parent.glob(f"{path.name}.partial-*"):
            shutil.rmtree(left_over)
        partial = path.with_name(f"{path.name}.partial-{secrets.token_hex(4)}")
        # Readable for the workspaces' users whatever the worker's umask is: containers borrow the objects.
        shape = ("--bare", "--template=", "--no-local", "-c", "core.sharedRepository=0644")
        quiet = ("--quiet", "--progress", "--no-recurse-submodules")
        argv = ("clone", *shape, *quiet, *connection.options, "--", connection.url, str(partial))
        try:
            result = self._run(argv, None, connection, on_output, control)
            if result.exit_code:
                raise StepFailed(Reason.CLONE_FAILED, explain_failure(result.errors, url))
            if not _branches(partial, control):
                raise StepFailed(Reason.CLONE_FAILED, f"cannot clone {url.display}: the repository is empty")
            partial.rename(path)
        finally:
            shutil.rmtree(partial, ignore_errors=True)

    def _update(
        self, path: Path, url: GitUrl, connection: Connection, on_output: Callable[[bytes], None], control: Control
    ) -> None:
        quiet = ("--no-write-fetch-head", "--no-auto-maintenance", "--no-recurse-submodules")
        argv = ("fetch", "--progress", "--prune", "--force", *quiet, *connection.options, "--")
        marker = path / _DIRTY
        marker.touch()
        result = self._run((*argv, connection.url, *_REFSPECS), path, connection, on_output, control)
        marker.unlink()
        if result.exit_code:
            raise StepFailed(Reason.CLONE_FAILED, explain_failure(result.errors, url))

    def _run(
        self,
        argv: tuple[str, ...],
        git_dir: Path | None,
        connection: Connection,
        on_output: Callable[[bytes], None],
        control: Control,
    ) -> GitResult:
        job = GitJob(
            argv,
            git_dir=git_dir,
            config=connection.config,
            env=connection.env,
            memory_bytes=self._settings.git_host_memory_bytes,
            file_bytes=self._settings.mirror_max_pack_bytes,
            on_errors=on_output,
        )
        return run_git(job, control)


def choose_default(current: str | None, head: str | None, heads: Mapping[str, str]) -> str | None:
    """The branch that a remote's HEAD means, given the branch known before and the commit HEAD has now.

    A fetch tells HEAD's commit, not its name. Where several branches are at that commit, any of them starts a clone
    from the same files; the one known before comes first, then the usual names.
    """
    if current is not None and current in heads and (head is None or heads[current] == head):
        return current
    return next((name for name in ("main", "master", *sorted(heads)) if head and heads.get(name) == head), None)


def _described(path: Path, url: GitUrl, control: Control) -> Mirror:
    heads = _branches(path, control)
    if not heads:
        raise StepFailed(Reason.CLONE_FAILED, f"cannot clone {url.display}: the repository is empty")
    try:
        with Repo(path, odbt=GitCmdObjectDB, expand_vars=False) as repo:
            current = None if repo.head.is_detached else repo.head.reference.name
            head = repo.head.commit.hexsha if repo.head.is_detached else _fetched_head(path)
            default = choose_default(current, head, heads)
            if default is not None and default != current:
                repo.head.set_reference(f"refs/heads/{default}")
    except (GitError, ValueError, TypeError) as error:
        raise StepFailed(Reason.CLONE_FAILED, f"the mirror of {url.display} is damaged; remove {path}") from error
    return Mirror(path, default, heads)


def _fetched_head(path: Path) -> str | None:
    try:
        return (path / "refs" / "relay" / "HEAD").read_text().strip()
    except FileNotFoundError:
        return None


def _branches(path: Path, control: Control) -> dict[str, str]:
    job = GitJob(("for-each-ref", "--format=%(objectname) %(refname:lstrip=2)", "refs/heads"), git_dir=path)
    lines = run_git(job, control).output.decode("utf-8", "surrogateescape").splitlines()
    return {name: commit for commit, _, name in (line.partition(" ") for line in lines)}


def _clear_after_crash(path: Path) -> None:
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


@contextmanager
def _locked(path: Path, control: Control) -> Iterator[None]:
    """Hold a file lock against other threads and workers of this node; the kernel frees it when a worker dies."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        while True:
            with suppress(BlockingIOError):
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            control.pause("waiting for another clone of the same remote")
        yield
    finally:
        os.close(descriptor)
