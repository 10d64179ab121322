"""A mirror after a fetch, and the choice of the commit from which a workspace's branch starts."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from relay_workers.git.host.advertisement import HEADS, Advertisement
from relay_workers.git.port import StartPointMissing

_BRANCHES_NAMED = 8


@dataclass(frozen=True, slots=True)
class StartPoint:
    """The commit from which the branch of a workspace starts."""

    branch: str | None
    """The remote's branch into which the work is to be merged; None if the remote has no default branch."""
    commit: str


@dataclass(frozen=True, slots=True)
class FetchedMirror:
    """The refs of a mirror after a fetch."""

    path: Path
    default_branch: str | None
    """The branch to use if a request names none (see `choose_default`); None if the remote has no default branch."""
    heads: Mapping[str, str]
    """Name of each branch → id of its commit, without branches that no request can name (names that are not UTF-8)."""
    head: str | None = None
    """Id of the commit of the remote's HEAD; None if the branch of HEAD has no commit."""
    ref_commit: str | None = None
    """Id of the commit of the ref that the request names; None if it names none."""

    def start_point(self, branch: str | None) -> StartPoint:
        """Return the commit from which the branch of a workspace starts.

        Args:
            branch: name of the remote's branch; None means the default branch or, without one, the remote's HEAD.
                The start is its commit, unless the request names a ref.

        Raises:
            StartPointMissing: there is no such branch, or no default; the message lists some branches that exist.
        """
        name = branch or self.default_branch
        if self.ref_commit is not None and (name is None or name in self.heads):
            return StartPoint(name, self.ref_commit)
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
    """Return the description of a mirror.

    Args:
        path: directory of the mirror.
        remote: the refs that the remote advertised; the mirror has all of them.
    """
    branches = {name.removeprefix(HEADS): commit for name, commit in remote.refs.items() if name.startswith(HEADS)}
    heads = {name: commit for name, commit in branches.items() if _is_utf8(name)}
    return FetchedMirror(path, choose_default(remote, heads), heads, remote.head)


def choose_default(remote: Advertisement, heads: Mapping[str, str]) -> str | None:
    """Return the name of the remote's default branch; None if there is none.

    This is the branch of the remote's HEAD. If HEAD is detached, it is a branch at HEAD's commit; main and master take
    precedence. If the branch of HEAD does not exist, it is the only branch of the remote, if there is exactly one.

    Args:
        remote: the refs that the remote advertised.
        heads: name of each branch that can be chosen → id of its commit.
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
