"""Where a clone starts: at the branch that was asked for, or where the remote's HEAD is."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from relay_core.domain.errors import StepFailed
from relay_core.domain.vocabulary import Reason
from relay_workers.git.host.advertisement import HEADS, Advertisement

_BRANCHES_NAMED = 8


class StartPointMissing(StepFailed):
    """What was to be checked out is not there."""

    def __init__(self, message: str) -> None:
        super().__init__(Reason.CLONE_FAILED, message)


@dataclass(frozen=True, slots=True)
class StartPoint:
    """What a clone starts from."""

    branch: str | None
    """None: the remote's HEAD names a commit, and no branch is there."""
    commit: str


@dataclass(frozen=True, slots=True)
class FetchedMirror:
    """A mirror as the fetch left it."""

    path: Path
    default_branch: str | None
    """The branch that the remote's HEAD means."""
    heads: Mapping[str, str]
    """Commit of each branch; without those whose names are not UTF-8, which no request can name."""
    head: str | None = None
    """Commit of the remote's HEAD."""

    def start_point(self, branch: str | None) -> StartPoint:
        """The named branch, or where the remote's HEAD is.

        Raises:
            StepFailed: reason ``clone_failed``; the message lists some branches that there are.
        """
        name = branch or self.default_branch
        if name is None and self.head is not None:
            return StartPoint(None, self.head)
        if name is None:
            raise StartPointMissing(f"the remote names no default branch; give target_branch ({self._some_branches()})")
        if name not in self.heads:
            raise StartPointMissing(f"the remote has no branch {name!r} ({self._some_branches()})")
        return StartPoint(name, self.heads[name])

    def _some_branches(self) -> str:
        names = sorted(self.heads, key=lambda name: (name not in {"main", "master"}, name))
        more = ", …" if len(names) > _BRANCHES_NAMED else ""
        return f"it has {', '.join(names[:_BRANCHES_NAMED]) or 'no branch that can be named'}{more}"


def describe(path: Path, remote: Advertisement) -> FetchedMirror:
    """A mirror that has everything that its remote advertised."""
    branches = {name.removeprefix(HEADS): commit for name, commit in remote.refs.items() if name.startswith(HEADS)}
    heads = {name: commit for name, commit in branches.items() if _is_utf8(name)}
    return FetchedMirror(path, choose_default(remote, heads), heads, remote.head)


def choose_default(remote: Advertisement, heads: Mapping[str, str]) -> str | None:
    """The branch that a remote's HEAD means.

    Where HEAD names a commit, any branch at that commit starts a clone from the same files; the usual names come first.
    Where HEAD names a branch that is not there, a branch that is the only one is meant.
    """
    named = (remote.head_ref or "").removeprefix(HEADS)
    if named in heads:
        return named
    if remote.head is None:
        return next(iter(heads)) if len(heads) == 1 else None
    return next((name for name in ("main", "master", *sorted(heads)) if heads.get(name) == remote.head), None)


def _is_utf8(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True
