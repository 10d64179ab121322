"""Make a commit of the uncommitted work in a repository, without touching its work tree, index, HEAD or branches.

The commit is made with a temporary index and kept by a ref below ``refs/relay/changes``, from which a run can start.
Refs that are old are removed first (`relay_cli.old_changes`).
"""

import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from relay_cli.errors import CommandFailed
from relay_cli.local_clones import local_path
from relay_cli.local_git import git, root_of, run
from relay_cli.old_changes import REFS, prune
from relay_core.console.output import note
from relay_core.console.terminal_text import safe_line

_NAMED = 5
_QUIET = ("-c", "core.hooksPath=/dev/null", "-c", "core.splitIndex=false", "-c", "core.fsmonitor=false")
"""No hook runs, and nothing but the temporary index is written beside the objects."""
_GITLINK = "160000"


@dataclass(frozen=True)
class SentChanges:
    """Uncommitted work as a commit on top of HEAD."""

    ref: str
    """Full name of the ref that keeps the commit; a run names it in `repos[].ref`."""
    commit: str
    files: int
    """Number of changed files."""
    notes: tuple[str, ...]
    """Notes for the user about changes that are not sent, or not as they are here."""


def started_from_changes(repos: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the repositories of a request, with a start at a commit of the uncommitted work of each.

    What is sent is told on standard error. A repository without uncommitted work starts where it is, at HEAD.

    Args:
        repos: the field `repos` of `POST /v1/runs`.

    Raises:
        CommandFailed: a repository is not on this machine, or its work cannot be committed.
    """
    if any("ref" in repo for repo in repos):
        raise CommandFailed("--with-changes starts from the work here, and --ref from elsewhere; give one of them", 2)
    roots = [local_root(repo["url"]) for repo in repos]
    return [{**repo, "ref": _start(root)} for repo, root in zip(repos, roots, strict=True)]


def _start(root: Path) -> str:
    if removed := prune(root):
        note(f"removed {removed} old {'ref' if removed == 1 else 'refs'} below {REFS} in {root}")
    sent = commit_changes(root)
    if sent is None:
        note(f"{root} has no uncommitted work to send")
        return git(root, "rev-parse", "HEAD")
    files = "1 uncommitted file" if sent.files == 1 else f"{sent.files} uncommitted files"
    note(f"sent {files} of {root} along, as {sent.ref}")
    for line in sent.notes:
        note(safe_line(line))
    return sent.ref


def local_root(place: str) -> Path:
    """Return the root of the repository that is given as a path or as a file:// URL.

    Raises:
        CommandFailed: the place is a URL of another kind, or no repository with a work tree.
    """
    if "://" in place and not place.startswith("file://"):
        raise _refused(f"{place} is a URL; push the work and use --ref, or give the path of a clone")
    path = local_path(place) or Path(place).expanduser()
    root = root_of(path)
    if root is None:
        raise _refused(f"{place} is no repository on this machine")
    if run(root, "rev-parse", "--is-bare-repository").stdout.strip() == b"true":
        raise _refused(f"{root} is a bare repository, which has no uncommitted work")
    return root


def commit_changes(root: Path) -> SentChanges | None:
    """Commit what differs from HEAD in a work tree: staged, changed, removed and untracked files, not ignored ones.

    Args:
        root: root of the work tree.

    Returns:
        The commit; None if nothing differs from HEAD.

    Raises:
        CommandFailed: there is no commit yet, a merge has conflicts, or git cannot read a file.
    """
    if run(root, "rev-parse", "--verify", "-q", "HEAD^{commit}").returncode:
        raise _refused(f"{root} has no commit yet; make one first")
    if git(root, "ls-files", "--unmerged"):
        raise _refused(f"{root} has files with conflicts; resolve and `git add` them first")
    head = git(root, "rev-parse", "HEAD")
    with tempfile.TemporaryDirectory(prefix="relay-") as folder:
        tree = _tree(root, Path(folder) / "index")
    if tree == git(root, "rev-parse", "HEAD^{tree}"):
        return None
    changed = list(_changed(root, head, tree))
    ref = f"{REFS}/{head[:10]}-{tree[:10]}"
    commit = _existing(root, ref, head, tree) or _commit(root, ref, head, tree)
    return SentChanges(ref, commit, len(changed), tuple(_notes(root, changed)))


def _tree(root: Path, index: Path) -> str:
    """Return the id of a tree object with all files of the work tree that are not ignored.

    Args:
        root: root of the work tree.
        index: path of the temporary index, which does not exist yet.
    """
    own = root / git(root, "rev-parse", "--git-path", "index")
    env = {"GIT_INDEX_FILE": str(index)}
    if own.is_file():
        shutil.copy2(own, index)  # with its times, so that git need not read unchanged files again
    else:
        git(root, *_QUIET, "read-tree", "HEAD", env=env)
    git(root, *_QUIET, "-c", "advice.addEmbeddedRepo=false", "add", "--all", "--", ".", env=env)
    return git(root, *_QUIET, "write-tree", env=env)


def _existing(root: Path, ref: str, head: str, tree: str) -> str | None:
    """Return the commit of an earlier call, if it has the same tree and parent."""
    found = run(root, "rev-parse", f"{ref}^{{commit}}", f"{ref}^{{tree}}", f"{ref}^1")
    commit, *rest = found.stdout.decode().split() or [""]
    return commit if found.returncode == 0 and rest == [tree, head] else None


def _commit(root: Path, ref: str, head: str, tree: str) -> str:
    branch = run(root, "symbolic-ref", "-q", "--short", "HEAD").stdout.decode("utf-8", "replace").strip()
    message = f"Uncommitted work on {branch or head[:10]}\n\nMade by `relay run --with-changes`.\n"
    commit = git(root, *_QUIET, "commit-tree", tree, "-p", head, env=_identity(root), stdin=message.encode())
    git(root, *_QUIET, "update-ref", ref, commit)
    return commit


def _identity(root: Path) -> Mapping[str, str]:
    """Return environment variables with an author, where git knows none; else nothing."""
    if run(root, "var", "GIT_COMMITTER_IDENT").returncode == 0 and run(root, "var", "GIT_AUTHOR_IDENT").returncode == 0:
        return {}
    return {f"GIT_{who}_{what}": value for who in ("AUTHOR", "COMMITTER") for what, value in _AUTHOR.items()}


_AUTHOR = {"NAME": "Relay", "EMAIL": "relay@localhost"}


def _changed(root: Path, head: str, tree: str) -> Iterator[tuple[str, str]]:
    """Yield mode and path of each changed file; the mode of a removed file is zeros."""
    records = git(root, "diff-tree", "-r", "-z", "--no-renames", head, tree).split("\0")
    for about, path in zip(records[::2], records[1::2], strict=False):
        yield about.split()[1], path


def _notes(root: Path, changed: list[tuple[str, str]]) -> Iterator[str]:
    links = [path for mode, path in changed if mode == _GITLINK]
    if links:
        yield f"sent as a commit id only, without files: {_some(links)} (a submodule, or a repository of its own)"
    if dirty := _dirty_submodules(root):
        yield f"not sent: uncommitted work in the submodule {_some(dirty)}"
    paths = [path for mode, path in changed if mode.strip("0") and mode != _GITLINK]
    if pointers := _of_lfs(root, paths):
        yield f"sent as pointers of Git LFS, as the workspace has them: {_some(pointers)}"


def _dirty_submodules(root: Path) -> list[str]:
    status = git(root, "status", "--porcelain=v2", "-z", "--untracked-files=no", "--no-renames")
    entries = [entry.split(" ", 8) for entry in status.split("\0") if entry.startswith("1 ")]
    return [entry[8] for entry in entries if entry[2].startswith("S") and entry[2][2:] != ".."]


def _of_lfs(root: Path, paths: list[str]) -> list[str]:
    if not paths:
        return []
    asked = "".join(f"{path}\0" for path in paths).encode("utf-8", "surrogateescape")
    answers = git(root, "check-attr", "-z", "--stdin", "filter", stdin=asked).split("\0")
    return [path for path, value in zip(answers[::3], answers[2::3], strict=False) if value == "lfs"]


def _some(paths: list[str]) -> str:
    more = f" and {len(paths) - _NAMED} more" if len(paths) > _NAMED else ""
    return ", ".join(paths[:_NAMED]) + more


def _refused(why: str) -> CommandFailed:
    return CommandFailed(f"--with-changes cannot send uncommitted work: {why}", 2)
