"""Check a remote that is a repository on this node (``file://``) before git reads it.

Git runs ``upload-pack`` in the repository with the rights of the worker. A promisor remote in the repository's
configuration could make ``upload-pack`` run a program. Alternates or links could give access to objects of other
projects in Relay's data directory. (Both attacks were tried, and work.) So Relay refuses such repositories.

An account that changes the repository between check and use can evade the check. This is accepted: the setting
RELAY_GIT_ALLOW_FILE means that the operator trusts the accounts of the node.
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from relay_core.domain.errors import StepFailed
from relay_core.domain.git.url import GitUrl
from relay_core.domain.vocabulary import Reason
from relay_workers.git.host.process import Deadline, GitJob, run_git

_SMALL_FILE = 64 << 10
_ALTERNATES = 100
_HOOKS = (
    "pre-receive",
    "update",
    "proc-receive",
    "reference-transaction",
    "post-receive",
    "post-update",
    "push-to-checkout",
)
"""Hooks that a push to a repository runs in it."""
_PROGRAMS = frozenset({"core.hookspath", "core.alternaterefscommand"})
"""Keys of a repository's configuration with programs that a push to it runs."""
_PARTIAL = (".promisor", ".partialclone", ".partialclonefilter")


class RemoteRefused(StepFailed):
    """The local repository does not exist, or Relay does not allow to clone it."""

    def __init__(self, url: GitUrl, why: str) -> None:
        super().__init__(Reason.CLONE_FAILED, f"cannot clone {url.display}: {why}")


@dataclass(frozen=True, slots=True)
class _Repository:
    git_dir: Path
    common: Path
    """Directory with objects and refs; differs from `git_dir` in a linked worktree, otherwise both are the same."""

    @property
    def configs(self) -> tuple[Path, ...]:
        return (self.common / "config", self.git_dir / "config.worktree")


def checked_path(url: GitUrl, data_dir: Path, deadline: Deadline) -> Path:
    """Check a local repository and return its path for git, with all links resolved.

    Args:
        url: a ``file://`` URL of the repository.
        data_dir: Relay's data directory; no part of the repository may be inside of it.
        deadline: the time limit and cancellation event of the clone.

    Raises:
        RemoteRefused: there is no repository, it is a partial clone, or a part of it is below `data_dir`.
        GitCancelled: the event of the deadline was set.
        DeadlinePassed: the time limit of the deadline has passed.
    """
    path = Path(url.path).resolve()
    repository = _find(path, url)
    inside = data_dir.resolve()
    for part in (path, repository.git_dir, repository.common):
        if part.is_relative_to(inside):
            raise RemoteRefused(url, "it lies in Relay's own data directory")
    if not (repository.common / "objects").is_dir():
        raise RemoteRefused(url, "there is no git repository")
    for place in _object_places(repository, url):
        if place.is_relative_to(inside):
            raise RemoteRefused(url, "it takes objects or refs from Relay's own data directory")
    for config in repository.configs:
        job = GitJob(("config", "--file", str(config), "--includes", "--name-only", "--list"))
        keys = run_git(job, deadline).output.decode("utf-8", "replace").lower().split() if config.is_file() else []
        if any(key.endswith(_PARTIAL) for key in keys):
            raise RemoteRefused(url, "it is a partial clone; clone its origin")
    return path


def refuse_hooks(url: GitUrl, deadline: Deadline) -> None:
    """Refuse to push to a local repository that has hooks for pushes.

    Git would run them with the rights of the worker, so Relay switches them off; and a push that leaves out the checks
    of its remote would be wrong.

    Args:
        url: a ``file://`` URL of a repository that `checked_path` has accepted.
        deadline: the time limit and cancellation event of the push.

    Raises:
        RemoteRefused: the repository has hooks, or its configuration names a program that a push runs.
        GitCancelled: the event of the deadline was set.
        DeadlinePassed: the time limit of the deadline has passed.
    """
    repository = _find(Path(url.path).resolve(), url)
    hooks = repository.common / "hooks"
    if found := [name for name in _HOOKS if (hooks / name).exists()]:
        text = f"it has hooks ({', '.join(found)}), which Relay does not run on its node; push by ssh or https"
        raise RemoteRefused(url, text)
    for config in repository.configs:
        job = GitJob(("config", "--file", str(config), "--includes", "--name-only", "--list"))
        keys = run_git(job, deadline).output.decode("utf-8", "replace").lower().split() if config.is_file() else []
        if any(key in _PROGRAMS or key.startswith("hook.") for key in keys):
            raise RemoteRefused(url, "its configuration names programs that a push runs; push by ssh or https")


def _find(path: Path, url: GitUrl) -> _Repository:
    """Return the repository of a directory: the directory itself, its ``.git``, or the target of a file ``.git``."""
    dot_git = path / ".git"
    git_dir = path
    if dot_git.is_file():  # a linked worktree, a submodule's checkout, --separate-git-dir
        target = _small(dot_git, url).removeprefix("gitdir:").strip()
        git_dir = (path / target).resolve()
        if not git_dir.is_dir():
            raise RemoteRefused(url, f"its file .git points to {target!r}, and there is no directory")
    elif dot_git.is_dir():
        git_dir = dot_git.resolve()
    pointer = git_dir / "commondir"
    common = (git_dir / _small(pointer, url).strip()).resolve() if pointer.is_file() else git_dir
    return _Repository(git_dir, common)


def _object_places(repository: _Repository, url: GitUrl) -> Iterator[Path]:
    """Yield every path with objects or refs that git may read, with links resolved and alternates followed."""
    yield from (entry.resolve() for part in {repository.git_dir, repository.common} for entry in part.iterdir())
    due = [(repository.common / "objects").resolve()]
    seen: set[Path] = set()
    while due:
        objects = due.pop()
        if objects in seen:
            continue
        seen.add(objects)
        if len(seen) > _ALTERNATES:
            raise RemoteRefused(url, f"it has more than {_ALTERNATES} alternates")
        yield objects
        yield from _links(objects)
        alternates = objects / "info" / "alternates"
        for line in _small(alternates, url).splitlines() if alternates.is_file() else ():
            if line.startswith('"'):
                raise RemoteRefused(url, "its alternates have a quoted path, which is not supported")
            if line and not line.startswith("#"):
                due.append((objects / line).resolve())


def _links(directory: Path) -> Iterator[Path]:
    for folder, directories, files in os.walk(directory):
        for name in (*directories, *files):
            entry = Path(folder, name)
            if entry.is_symlink():
                yield entry.resolve()


def _small(path: Path, url: GitUrl) -> str:
    with path.open("rb") as file:
        data = file.read(_SMALL_FILE + 1)
    if len(data) > _SMALL_FILE:
        raise RemoteRefused(url, f"{path.name} is larger than {_SMALL_FILE} bytes")
    return os.fsdecode(data)
