"""A fake of git in memory: a commit is a set of files.

Only the work tree of a clone, its `.git/HEAD` and the file of its branch are real files.
"""

import difflib
import os
import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from hashlib import sha1
from pathlib import Path
from typing import TypeVar
from uuid import UUID

from relay_core.domain.errors import InvalidInput, StepFailed
from relay_core.domain.git.branch_name import is_valid_branch, is_valid_repo_name
from relay_core.domain.git.url import RemotePolicy, parse_git_url
from relay_core.domain.vocabulary import Reason
from relay_workers.git.act_requests import Merged, MergeRequest, Pushed, PushRequest, ResetRequest, RestoreRequest
from relay_workers.git.host.push import moved
from relay_workers.git.port import (
    AfterState,
    AfterStateRequest,
    CloneRequest,
    CloneResult,
    CommittedFile,
    FetchedRemote,
    FetchRequest,
    Head,
    Patch,
)
from relay_workers.git.sandbox.head_reader import read_head
from relay_workers.testing.faults import Faults

T = TypeVar("T")
Files = Mapping[str, bytes]


class FakeGit:
    """Implements `Git` without git. Usable from many threads if they work in different clones.

    Not simulated: submodules, Git LFS, hostile clones, size limits, masking; a step that commits by itself.

    Args:
        data_dir: the directory that contains the mirrors' directories, as on a node.
        policy: decides which remotes are allowed.
    """

    def __init__(self, data_dir: Path, policy: RemotePolicy) -> None:
        self.faults = Faults()
        self._data_dir = data_dir
        self._policy = policy
        self._remotes: dict[str, dict[str, str]] = {}
        self._commits: dict[str, Files] = {}
        self._parents: dict[str, str] = {}
        self._removed: set[UUID] = set()

    def add_remote(self, url: str, branch: str, files: Files) -> str:
        """Create a remote with one branch, its default, that has one commit of ``files``; return the commit's id."""
        commit = self._commit(files)
        self._remotes[url] = {branch: commit}
        return commit

    def add_commit(self, files: Files, parent: str) -> str:
        """Make a commit as a step does with its own git; return its id."""
        return self._commit(files, parent)

    def branches(self, url: str) -> dict[str, str]:
        """Return the branches of a remote: the id of the commit by name."""
        return dict(self._remotes[url])

    def files_of(self, commit: str) -> Files:
        """Return the files of a commit."""
        return dict(self._commits[commit])

    def parent_of(self, commit: str) -> str | None:
        """Return the parent of a commit; None if it has none."""
        return self._parents.get(commit) or None

    def move_branch(self, url: str, branch: str, commit: str) -> None:
        """Let a branch of a remote point to a commit, as if another person had pushed it."""
        self._remotes[url][branch] = commit

    def fetch(self, request: FetchRequest) -> FetchedRemote:
        """Return where a clone of a remote starts (`Git.fetch`)."""
        return self._serve("fetch", lambda: self._fetch(request))

    def files_of_target(self, remote: FetchedRemote, paths: Sequence[str], max_bytes: int) -> list[CommittedFile]:
        """Return those of the paths that the commit has (`Git.files_of_target`)."""
        files = self._commits[remote.target_commit]
        return [CommittedFile(path, files[path][: max_bytes + 1]) for path in paths if path in files]

    def clone(self, request: CloneRequest) -> CloneResult:
        """Clone a repository into a workspace and check out its branch (`Git.clone`)."""
        return self._serve("clone", lambda: self._clone(request))

    def mirror_path(self, project_id: UUID, url: str) -> Path:
        """Return the directory of the mirror of a remote (`Git.mirror_path`)."""
        name = sha1(parse_git_url(url, self._policy).text.encode(), usedforsecurity=False).hexdigest()
        return self._data_dir / "mirrors" / str(project_id) / f"{name}.git"

    def remove_mirror(self, project_id: UUID, url: str, wanted: Callable[[], bool]) -> bool:
        """Remove the mirror of a remote (`Git.remove_mirror`)."""
        return self._serve("remove_mirror", lambda: self._remove_mirror(project_id, url, wanted))

    def heads(self, workspace_dir: Path, names: Iterable[str]) -> dict[str, Head]:
        """Return the commit and branch of each named clone, read from real files (`Git.heads`)."""
        return self._serve("heads", lambda: {name: read_head(workspace_dir, name) for name in names})

    def after_state(self, request: AfterStateRequest) -> AfterState:
        """Return the git state of a clone after a step, and commit its changes if asked to (`Git.after_state`)."""
        return self._serve("after_state", lambda: self._after_state(request))

    def changed_paths(self, request: AfterStateRequest, after: str) -> list[str] | None:
        """Return the paths in which a commit differs from HEAD before the step (`Git.changed_paths`)."""
        before, files = self._commits[request.before_commit or request.base_commit], self._commits[after]
        return sorted(name for name in {*before, *files} if before.get(name) != files.get(name))

    def branch_at(self, request: PushRequest) -> str:
        """Return the commit of a branch of a remote (`Git.branch_at`)."""
        return self._serve("branch_at", lambda: self._branches(request).get(request.branch, ""))

    def push(self, request: PushRequest) -> Pushed:
        """Move a branch of a remote (`Git.push`)."""
        return self._serve("push", lambda: self._push(request))

    def resolve(self, request: ResetRequest) -> str:
        """Return the full id of a commit (`Git.resolve`)."""
        return self._serve("resolve", lambda: self._resolve(request))

    def reset(self, request: ResetRequest) -> str:
        """Reset a clone to a commit (`Git.reset`)."""
        return self._serve("reset", lambda: self._reset(request))

    def restore(self, request: RestoreRequest) -> str:
        """Reset a clone to a commit, which any repository of the fake knows (`Git.restore`)."""
        return self._serve("restore", lambda: self._restore(request))

    def merge(self, request: MergeRequest) -> Merged:
        """Merge two commits (`Git.merge`); the new commit has one parent, the target."""
        return self._serve("merge", lambda: self._merge(request))

    def replay(self, request: MergeRequest) -> Merged:
        """Replay all commits after the base as one (`Git.replay`)."""
        return self._serve("replay", lambda: self._replay(request))

    def contains(self, workspace_id: UUID, name: str, commit: str, wanted: str) -> bool:  # noqa: ARG002 - the port's
        """Return whether a commit is another one or an ancestor of it (`Git.contains`)."""
        return wanted in self._line(commit)

    def remove_workspace(self, workspace_id: UUID, workspace_dir: Path) -> None:
        """Remove a workspace's directory (`Git.remove_workspace`)."""
        self._serve("remove_workspace", lambda: shutil.rmtree(workspace_dir, ignore_errors=True))
        self._removed.add(workspace_id)

    def _serve(self, verb: str, action: Callable[[], T]) -> T:
        number = self.faults.enter(verb)
        answer = action()
        self.faults.leave(verb, number)
        return answer

    def _clone(self, request: CloneRequest) -> CloneResult:
        self.mirror_path(request.project_id, request.url)
        if not is_valid_repo_name(request.name):
            raise InvalidInput(f"{request.name!r} is no usable name for a clone", code="repo_name_invalid")
        if not is_valid_branch(request.branch):
            raise InvalidInput(f"{request.branch!r} is no valid branch name", code="branch_invalid")
        remote = request.remote or self._fetch(_to_fetch(request))
        start = request.start
        if start is not None and (start.workspace_id in self._removed or start.commit not in self._commits):
            message = f"the node does not have the recorded state {start.commit} of workspace {start.workspace_id}"
            raise StepFailed(Reason.CLONE_FAILED, message)
        head = read_head(request.workspace_dir, request.name)
        if head.commit is None:
            head = self._check_out(request, remote.start_commit if start is None else start.commit)
        request.on_output(f"Branch {request.branch} from {remote.target_branch} at {head.commit}\n".encode())
        base = None
        if start is not None:
            base = start.base_commit if start.base_commit in self._line(start.commit) else start.commit
        return CloneResult(head.commit or "", remote.target_branch, remote.mirror_path, (), base)

    def _fetch(self, request: FetchRequest) -> FetchedRemote:
        mirror = self.mirror_path(request.project_id, request.url)
        if request.target_branch and not is_valid_branch(request.target_branch):
            raise InvalidInput(f"{request.target_branch!r} is no valid branch name", code="branch_invalid")
        if request.cancelled.is_set():
            raise StepFailed(Reason.USER, "killed during the fetch of the mirror")
        branches = self._remotes.get(request.url)
        if branches is None:
            raise StepFailed(Reason.CLONE_FAILED, f"{request.url} is no repository")
        target = request.target_branch or next(iter(branches))
        if target not in branches:
            raise StepFailed(Reason.CLONE_FAILED, f"{request.url} has no branch {target}")
        start = branches[target] if request.ref is None else branches.get(request.ref, request.ref)
        if start not in self._commits:
            raise StepFailed(Reason.CLONE_FAILED, f"{request.url} has no branch or commit {request.ref}")
        mirror.mkdir(parents=True, exist_ok=True)
        return FetchedRemote(mirror, next(iter(branches)), target, branches[target], start)

    def _remove_mirror(self, project_id: UUID, url: str, wanted: Callable[[], bool]) -> bool:
        if not wanted():
            return False
        shutil.rmtree(self.mirror_path(project_id, url), ignore_errors=True)
        return True

    def _check_out(self, request: CloneRequest, commit: str) -> Head:
        clone = request.workspace_dir / "repos" / request.name
        shutil.rmtree(clone, ignore_errors=True)
        for name, content in self._commits[commit].items():
            (clone / name).parent.mkdir(parents=True, exist_ok=True)
            (clone / name).write_bytes(content)
        clone.mkdir(parents=True, exist_ok=True)
        _write_head(clone, request.branch, commit)
        return Head(commit, request.branch, None)

    def _after_state(self, request: AfterStateRequest) -> AfterState:
        head = read_head(request.workspace_dir, request.name)
        if head.commit is None or head.commit not in self._commits:
            return AfterState(head.commit, head.branch, problem=head.problem or "the commit is not known")
        clone = request.workspace_dir / "repos" / request.name
        before, files = self._commits[head.commit], _files(clone)
        changes = before != files
        pinned = self._commit(files, head.commit) if changes else head.commit
        committed = pinned if changes and request.commit_message is not None and head.branch is not None else None
        if committed and head.branch:
            _write_head(clone, head.branch, committed)
        return AfterState(
            after_head=committed or head.commit,
            branch=head.branch,
            committed=committed,
            dirty=changes and committed is None,
            summary=_summary(before, files),
            pinned_commit=pinned,
            patch=_patch(self._commits[request.base_commit], files),
        )

    def _commit(self, files: Files, parent: str = "") -> str:
        text = parent.encode() + b"".join(name.encode() + b"\0" + data for name, data in sorted(files.items()))
        commit = sha1(text, usedforsecurity=False).hexdigest()
        self._commits[commit] = dict(files)
        if parent != commit:
            self._parents.setdefault(commit, parent)
        return commit

    def _push(self, request: PushRequest) -> Pushed:
        branches = self._branches(request)
        before = branches.get(request.branch)
        replaced = before is not None and before not in self._line(request.commit)
        place = f"cannot push to {request.url}: branch {request.branch}"
        if request.lease is not None and before != request.commit and (before or "") != request.lease:
            raise StepFailed(Reason.PUSH_REJECTED, f"{place}: {moved(request.lease)}")
        if replaced and request.lease is None:
            raise StepFailed(Reason.PUSH_REJECTED, f"{place}: the branch has other commits")
        branches[request.branch] = request.commit
        return Pushed(request.commit, request.branch, changed=before != request.commit, replaced=replaced)

    def _branches(self, request: PushRequest) -> dict[str, str]:
        if request.cancelled.is_set():
            raise StepFailed(Reason.USER, "the push was cancelled")
        branches = self._remotes.get(request.url)
        if branches is None:
            raise StepFailed(Reason.PUSH_FAILED, f"cannot push to {request.url}: there is no git repository")
        return branches

    def _merge(self, request: MergeRequest) -> Merged:
        base = request.base_commit or self._common(request.target_commit, request.source_commit)
        made = self._three_way(base, request.target_commit, request.source_commit)
        if isinstance(made, Merged):
            return made
        same = made == self._commits[request.target_commit]
        return Merged(None) if same else Merged(self._commit(made, request.target_commit))

    def _replay(self, request: MergeRequest) -> Merged:
        made = self._three_way(request.base_commit or "", request.target_commit, request.source_commit)
        if isinstance(made, Merged):
            return replace(made, at=request.source_commit)
        if made == self._commits[request.target_commit]:
            return Merged(request.target_commit)
        return Merged(self._commit(made, request.target_commit), replayed=1)

    def _common(self, one: str, other: str) -> str:
        line = self._line(other)
        return next(commit for commit in self._line(one) if commit in line)

    def _three_way(self, base: str, ours: str, theirs: str) -> Files | Merged:
        """Return the merged files, or the conflicts; a file is merged as a whole."""
        was, mine, other = (self._commits[commit] for commit in (base, ours, theirs))
        names = sorted({*was, *mine, *other})
        both = [name for name in names if mine.get(name) != other.get(name)]
        conflicts = [name for name in both if was.get(name) not in (mine.get(name), other.get(name))]
        if conflicts:
            return Merged(None, tuple(conflicts))
        sides = {name: other if mine.get(name) == was.get(name) else mine for name in names}
        return {name: side[name] for name, side in sides.items() if name in side}

    def _line(self, commit: str) -> list[str]:
        """Return the commit and its ancestors."""
        line = [commit]
        while parent := self._parents.get(line[-1]):
            line.append(parent)
        return line

    def _resolve(self, request: ResetRequest) -> str:
        found = [commit for commit in self._commits if commit.startswith(request.commit)]
        if len(found) != 1:
            message = f"repos/{request.name} cannot be reset: it has no commit {request.commit}"
            raise StepFailed(Reason.RESET_FAILED, message)
        return found[0]

    def _restore(self, request: RestoreRequest) -> str:
        if request.reset.commit not in self._commits:
            raise StepFailed(Reason.CLONE_FAILED, f"neither the bundle nor the remote has {request.reset.commit}")
        return self._reset(request.reset)

    def _reset(self, request: ResetRequest) -> str:
        commit = self._resolve(request)
        clone = request.workspace_dir / "repos" / request.name
        for name in _files(clone):
            (clone / name).unlink()
        for name, content in self._commits[commit].items():
            (clone / name).parent.mkdir(parents=True, exist_ok=True)
            (clone / name).write_bytes(content)
        _write_head(clone, request.branch, commit)
        return commit


def _to_fetch(request: CloneRequest) -> FetchRequest:
    return FetchRequest(
        request.project_id, request.url, request.target_branch, request.on_output, request.cancelled, request.ref
    )


def _write_head(clone: Path, branch: str, commit: str) -> None:
    """Write the files as git does: HEAD names the branch, and the branch's file contains the commit's id."""
    ref = clone / ".git" / "refs" / "heads" / branch
    ref.parent.mkdir(parents=True, exist_ok=True)
    ref.write_text(f"{commit}\n")
    (clone / ".git" / "HEAD").write_text(f"ref: refs/heads/{branch}\n")


def _files(clone: Path) -> dict[str, bytes]:
    found = {}
    for folder, folders, names in os.walk(clone):
        if Path(folder) == clone:
            folders[:] = [name for name in folders if name != ".git"]
        for name in names:
            path = Path(folder) / name
            found[str(path.relative_to(clone))] = path.read_bytes()
    return found


def _summary(before: Files, files: Files) -> dict[str, object]:
    modified = [name for name in before if name in files and before[name] != files[name]]
    deleted = [name for name in before if name not in files]
    untracked = [name for name in files if name not in before]
    counts = {"staged": 0, "modified": len(modified), "deleted": len(deleted), "untracked": len(untracked)}
    paths = sorted([*modified, *deleted, *untracked])
    return {**counts, "unmerged": 0, "nested": 0, "paths": paths, "complete": True}


def _patch(before: Files, files: Files) -> Patch:
    lines: list[str] = []
    changed = sorted(name for name in {*before, *files} if before.get(name) != files.get(name))
    for name in changed:
        old, new = (side.get(name, b"").decode(errors="replace").splitlines() for side in (before, files))
        lines += difflib.unified_diff(old, new, f"a/{name}", f"b/{name}", lineterm="")
    added = sum(line.startswith("+") and not line.startswith("+++") for line in lines)
    removed = sum(line.startswith("-") and not line.startswith("---") for line in lines)
    text = "".join(f"{line}\n" for line in lines).encode()
    return Patch(text, truncated=False, files=len(changed), insertions=added, deletions=removed)
