"""A mirror after a fetch, and the commit at which a clone of it starts."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from relay_core.domain.errors import StepFailed
from relay_core.domain.vocabulary import Reason
from relay_workers.git.host.advertisement import HEADS, Advertisement

_BRANCHES_NAMED = 8


class StartPointMissing(StepFailed):
    """The branch to check out does not exist, or the remote names no default branch."""

    def __init__(self, message: str) -> None:
        super().__init__(Reason.CLONE_FAILED, message)


@dataclass(frozen=True, slots=True)
class StartPoint:
    """The commit at which the branch of a workspace begins."""

    branch: str | None
    """The remote's branch at this commit; None if the remote's HEAD contains a commit that no branch is at."""
    commit: str


@dataclass(frozen=True, slots=True)
class FetchedMirror:
    """The refs of a mirror after a fetch."""

    path: Path
    default_branch: str | None
    """The branch that is checked out if a request names none (`choose_default`)."""
    heads: Mapping[str, str]
    """Name of each branch → its commit. Branches whose names are not UTF-8 are left out: no request can name them."""
    head: str | None = None
    """Commit of the remote's HEAD."""

    def start_point(self, branch: str | None) -> StartPoint:
        """Return the start at the named branch; for None, at the default branch or the commit of the remote's HEAD.

        Raises:
            StepFailed: reason ``clone_failed``: there is no such branch; the message lists some that exist.
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
    """Describe a mirror that has all refs that its remote advertised."""
    branches = {name.removeprefix(HEADS): commit for name, commit in remote.refs.items() if name.startswith(HEADS)}
    heads = {name: commit for name, commit in branches.items() if _is_utf8(name)}
    return FetchedMirror(path, choose_default(remote, heads), heads, remote.head)


def choose_default(remote: Advertisement, heads: Mapping[str, str]) -> str | None:
    """Choose the default branch of a remote; None if it has none.

    It is the branch of the remote's HEAD. If HEAD contains a commit, it is a branch at that commit, main or master
    before others. If the branch of HEAD does not exist, it is the only branch of the remote, if there is only one.
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
