"""Bring the results of a workspace into a clone on this machine: as a branch, or as changes of its work tree."""

import tempfile
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from relay_cli.client import Api
from relay_cli.errors import CommandFailed
from relay_cli.local_clones import LocalClone, find, given, local_path
from relay_cli.local_git import complaint, git, is_bare, run
from relay_core.domain.git.branch_name import is_valid_branch

_WORKSPACES_SEARCHED = 200


@dataclass(frozen=True)
class Wanted:
    """The values of the options of `relay fetch`, `push` and `apply`."""

    workspace: str | None
    """Id of a workspace or of something in it; None: the newest workspace of the repository here."""
    repo: str | None = None
    """Name of the repository in the workspace; None: all of its repositories."""
    into: Path | None = None
    """The clone; None: it is looked for."""
    branch: str | None = None
    """Name of the branch in the clone; None: the name that it has in the workspace."""
    force: bool = False
    """Whether a branch of this name with other commits is replaced."""


@dataclass(frozen=True)
class Source:
    """One repository of a workspace, its recorded state, and the clone on this machine."""

    workspace: dict[str, Any]
    repo: dict[str, Any]
    state: dict[str, Any]
    """The repository's item of the workspace's diff."""
    clone: LocalClone

    @property
    def name(self) -> str:
        """Name of the repository in the workspace."""
        return str(self.repo["name"])


def sources(api: Api, wanted: Wanted, here: Path) -> list[Source]:
    """Return the repositories whose results are wanted, each with the clone that takes them.

    Args:
        api: client of the API.
        wanted: the options of the command.
        here: directory in which the command was called.

    Raises:
        CommandFailed: there is no such workspace or repository, or no clone for it on this machine.
    """
    workspace = _workspace(api, wanted.workspace, here)
    repos = [repo for repo in workspace["repos"] if wanted.repo in (None, repo["name"])]
    if not repos:
        names = ", ".join(repo["name"] for repo in workspace["repos"])
        raise CommandFailed(f"the workspace has no repository {wanted.repo}; --repo takes one of: {names}", 2)
    if len(repos) > 1 and (wanted.into is not None or wanted.branch is not None):
        names = ", ".join(repo["name"] for repo in repos)
        raise CommandFailed(f"the workspace has several repositories; name one with --repo: {names}", 2)
    items = api.call("GET", f"/v1/workspaces/{workspace['id']}/diff")["items"]
    states = {item["name"]: item for item in items}
    return [Source(workspace, repo, states[repo["name"]], _clone(repo, wanted, here)) for repo in repos]


def fetch(api: Api, source: Source, wanted: Wanted) -> dict[str, Any] | None:
    """Read the commits of a workspace into a branch of the clone. Work tree, index and other branches stay as they are.

    Args:
        api: client of the API.
        source: the repository.
        wanted: the options of the command.

    Returns:
        {repo, clone, remote, branch, commit, base, commits, uncommitted} of the branch; None if nothing changed.

    Raises:
        CommandFailed: there is no bundle, the clone lacks the base commit, or the branch has other commits.
    """
    branch = wanted.branch or source.workspace["branch"]
    if not is_valid_branch(branch):
        raise CommandFailed(f"--branch: {branch!r} is no name that git takes for a branch", 2)
    state = source.state
    if state["bundle_bytes"] is None and state["execution_id"] is not None and _unchanged(state):
        return None
    path = f"/v1/workspaces/{source.workspace['id']}/bundle"
    with tempfile.TemporaryDirectory(prefix="relay-") as folder:
        bundle = Path(folder) / "results.bundle"
        with bundle.open("wb") as file:
            file.writelines(api.body(path, params={"repo": source.name}))
        commit = _commit_in(bundle, source)
        _check_branch(source.clone.root, branch, commit, force=wanted.force, bundle=bundle, source=source)
        _read(source.clone.root, bundle, source.workspace["branch"], branch)
    base = source.repo["base_commit"]
    return {
        "repo": source.name,
        "clone": str(source.clone.root),
        "remote": source.clone.remote,
        "branch": branch,
        "commit": commit,
        "base": base,
        "commits": int(git(source.clone.root, "rev-list", "--count", f"{base}..{commit}")),
        "uncommitted": commit != state["head_commit"],
    }


def apply(api: Api, source: Source, *, three_way: bool) -> int:
    """Apply the patch of a workspace to the work tree of the clone; without ``three_way``, completely or not at all.

    Args:
        api: client of the API.
        source: the repository.
        three_way: whether files that differ are merged, with conflict markers where that fails. The index is then
            changed, too.

    Returns:
        Number of files that the patch changes; 0: nothing changed in the workspace.

    Raises:
        CommandFailed: the patch is cut or has masked secrets, or it does not apply.
    """
    root = source.clone.root
    if is_bare(root):
        raise CommandFailed(f"{root} is a bare repository, which has no work tree; relay fetch gets a branch", 2)
    if why := _unusable(source.state):
        raise CommandFailed(f"the patch of {source.name} is not what the workspace has: {why}")
    params = {"repo": source.name, "format": "patch"}
    patch = b"".join(api.body(f"/v1/workspaces/{source.workspace['id']}/diff", params=params))
    if not patch:
        return 0
    how = ("--3way",) if three_way else ()
    done = run(root, "apply", "--whitespace=nowarn", *how, "-", stdin=patch)
    if done.returncode and three_way:
        raise CommandFailed(f"not all of it could be merged; see git status in {root}:\n{complaint(done.stderr)}")
    if done.returncode:
        advice = "nothing was changed; --3way merges and marks conflicts, relay fetch gets a branch to merge"
        raise CommandFailed(f"the patch does not apply to {root}: {complaint(done.stderr)}\n{advice}")
    return int((source.state["stat"] or {}).get("files", 0))


def left_out(excluded: list[dict[str, str]]) -> str:
    """Return a sentence about new files that the exclude list of the server left out, by pattern.

    Args:
        excluded: the field `excluded` of a diff's item, with `path` and `pattern` of at least one file.
    """
    counts = Counter(file["pattern"] for file in excluded)
    patterns = ", ".join(pattern if count == 1 else f"{pattern} ({count} times)" for pattern, count in counts.items())
    return f"left out, as the server's exclude list has them: {patterns}"


def _workspace(api: Api, asked: str | None, here: Path) -> dict[str, Any]:
    if asked is not None:
        found: dict[str, Any] = api.call("GET", f"/v1/workspaces/{quote(asked, safe='')}")
        return found
    for workspace in api.items("/v1/workspaces", _WORKSPACES_SEARCHED):
        clones = [(repo, find(repo["url"], here)) for repo in workspace["repos"]]
        if any(clone is not None and _is_here(clone.root, here) for _, clone in clones):
            return workspace
    raise CommandFailed("no workspace has the repository of this directory; give the id of a run or workspace", 2)


def _is_here(root: Path, here: Path) -> bool:
    return here.resolve().is_relative_to(root.resolve())


def _clone(repo: dict[str, Any], wanted: Wanted, here: Path) -> LocalClone:
    if wanted.into is not None:
        return given(wanted.into, repo["url"])
    found = find(repo["url"], here)
    if found is None:
        raise CommandFailed(f"no clone of {repo['url']} is here; call this command in one, or name it with --into", 2)
    return found


def _unchanged(state: dict[str, Any]) -> bool:
    return not (state["stat"] or {}).get("files") and state["head_commit"] == state["base_commit"]


def _commit_in(bundle: Path, source: Source) -> str:
    """Return the commit of the bundle's branch.

    Raises:
        CommandFailed: the clone does not have the base commit; the message says which fetch gets it.
    """
    root, repo = source.clone.root, source.repo
    checked = run(root, "bundle", "verify", "--quiet", str(bundle))
    if checked.returncode:
        ref = repo["ref"] or repo["target_branch"]
        place = source.clone.remote or ("origin" if local_path(repo["url"]) is None else repo["url"])
        command = f"git -C {root} fetch {place}" + (f" {ref}" if ref else "")
        raise CommandFailed(
            f"{root} lacks the commit {repo['base_commit'][:12]}, at which the work on {source.name} started; "
            f"get it with: {command}\n{complaint(checked.stderr)}"
        )
    return git(root, "bundle", "list-heads", str(bundle)).split(" ", 1)[0]


def _check_branch(root: Path, branch: str, commit: str, *, force: bool, bundle: Path, source: Source) -> None:
    """Raise an error if the branch cannot become the commit.

    Raises:
        CommandFailed: the branch is checked out, or has commits that the workspace does not have.
    """
    ref = f"refs/heads/{branch}"
    for place in git(root, "worktree", "list", "--porcelain").split("\n\n"):
        lines = place.splitlines()
        if f"branch {ref}" in lines:
            where = lines[0].removeprefix("worktree ")
            raise CommandFailed(f"the branch {branch} is checked out in {where}; give another name with --branch")
    if force or run(root, "rev-parse", "--verify", "-q", f"{ref}^{{commit}}").returncode:
        return
    # The bundle's objects are not in the clone yet: read them without a ref, so that git can compare.
    git(root, "bundle", "unbundle", str(bundle))
    if run(root, "merge-base", "--is-ancestor", ref, commit).returncode:
        raise CommandFailed(
            f"the branch {branch} has commits that {source.name} of the workspace does not have; "
            "give another name with --branch, or replace it with --force"
        )


def _read(root: Path, bundle: Path, theirs: str, ours: str) -> None:
    quiet = ("--quiet", "--no-tags", "--no-write-fetch-head", "--no-auto-maintenance", "--recurse-submodules=no")
    git(root, "fetch", *quiet, str(bundle), f"+refs/heads/{theirs}:refs/heads/{ours}")


def _unusable(state: dict[str, Any]) -> str | None:
    if state["masked"]:
        return f"secrets are masked in {_some(state['masked'])}"
    if (state["stat"] or {}).get("truncated"):
        return "it was too long and is cut"
    return None


def _some(paths: Iterable[str]) -> str:
    named = list(paths)
    return ", ".join(named[:5]) + (f" and {len(named) - 5} more" if len(named) > 5 else "")
