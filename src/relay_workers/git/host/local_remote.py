"""A repository of this machine as a remote: where its parts really are, and that none is where it must not be.

Git runs ``upload-pack`` in it with the rights of the worker. A promisor remote there could make that run a program, and
alternates or links could reach the objects of other projects, in Relay's own directory [seen]; so both are refused. Who
may change the repository meanwhile can still trick it: RELAY_GIT_ALLOW_FILE trusts the node's own accounts.
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
_PARTIAL = (".promisor", ".partialclone", ".partialclonefilter")


class RemoteRefused(StepFailed):
    """The repository is not there, or may not be cloned."""

    def __init__(self, url: GitUrl, why: str) -> None:
        super().__init__(Reason.CLONE_FAILED, f"cannot clone {url.display}: {why}")


@dataclass(frozen=True, slots=True)
class _Repository:
    git_dir: Path
    common: Path
    """Of a linked worktree that of its repository, else the same."""

    @property
    def configs(self) -> tuple[Path, ...]:
        return (self.common / "config", self.git_dir / "config.worktree")


def checked_path(url: GitUrl, data_dir: Path, deadline: Deadline) -> Path:
    """The path to clone from.

    Raises:
        StepFailed: reason ``clone_failed``: no repository, a partial clone, or parts of it are in ``data_dir``.
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


def _find(path: Path, url: GitUrl) -> _Repository:
    """Where git finds the repository of a directory: in it, below ``.git``, or where a file ``.git`` points to."""
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
    """Where objects and refs really are: behind every link and every alternate."""
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
