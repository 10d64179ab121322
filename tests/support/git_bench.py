"""Real remotes, clones and the git container for the tests of the git subsystem."""

import os
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event
from typing import Any
from uuid import UUID, uuid4

import psutil
import pytest

from relay_core.domain.errors import StepFailed
from relay_core.domain.logs.masking import SecretMask
from relay_core.domain.vocabulary import Reason
from relay_core.settings import Settings
from relay_workers.containers.docker.tool_container import DockerToolRunner
from relay_workers.git.act_requests import MergeRequest, PushRequest, RecordedStart, ResetRequest
from relay_workers.git.host.store import Store
from relay_workers.git.port import AfterState, AfterStateRequest, CloneRequest, CloneResult
from relay_workers.git.service import GitService

UID = os.geteuid() or 1000
GID = 20000 if os.geteuid() == 0 else os.getegid()
_LEFT_OVERS = ("mirrors/*/*.partial-*", "workspaces/*/repos/*.partial-*", "tmp/*")
BRANCH = "vk-1a2b3c4d-test"


def git(where: Path, *argv: str, text: str | None = None) -> str:
    """Git as a developer runs it; the traps of hostile clones are switched off where a test looks into one."""
    identity = ("-c", "user.name=Dev", "-c", "user.email=dev@example.com", "-c", "safe.directory=*")
    safe = ("-c", "core.hooksPath=/dev/null", "-c", "core.fsmonitor=false", "-c", "gc.auto=0")
    command = ["git", *identity, *safe, *argv]
    done = subprocess.run(command, cwd=where, capture_output=True, text=True, input=text, check=False)
    if where.stat().st_uid == UID != os.geteuid():  # as if the workspace's user had run it
        for folder, _, names in os.walk(where):
            for name in (".", *names):
                own(Path(folder) / name)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def write(path: Path, content: str = "x\n") -> Path:
    """A file with its directories, owned by the workspace's user."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)
    own(path.parent)
    own(path)
    return path


def own(path: Path) -> None:
    """Give something to the workspace's user."""
    if os.geteuid() == 0:
        os.chown(path, UID, GID, follow_symlinks=False)


@dataclass
class Remote:
    """A repository that is cloned from."""

    path: Path

    def commit(self, files: dict[str, str], message: str = "change") -> str:
        for name, content in files.items():
            (self.path / name).parent.mkdir(parents=True, exist_ok=True)
            (self.path / name).write_text(content)
        git(self.path, "add", "-A")
        git(self.path, "commit", "-q", "--allow-empty", "-m", message)
        return git(self.path, "rev-parse", "HEAD")

    @property
    def url(self) -> str:
        return f"file://{self.path}"


@dataclass
class Workspace:
    """A workspace with one clone, and what the runner knows of it."""

    id: UUID
    dir: Path
    service: GitService
    name: str = "repo"
    result: CloneResult | None = None
    output: list[bytes] = field(default_factory=list)
    commit: str = ""
    """The newest commit of its branch, where a test has made one."""

    @property
    def clone(self) -> Path:
        return self.dir / "repos" / self.name

    @property
    def base(self) -> str:
        assert self.result is not None
        return self.result.base_commit or self.result.head_commit

    def after(
        self,
        message: str | None = None,
        before: str | None = None,
        mask: SecretMask | None = None,
        bundled: frozenset[str] = frozenset(),
        run: str | None = None,
    ) -> AfterState:
        return self.service.after_state(self.request(message, before, mask, bundled, run))

    def changed(self, after: str) -> list[str] | None:
        """The paths in which a recorded commit differs from the clone's first one."""
        return self.service.changed_paths(self.request(), after)

    def request(
        self,
        message: str | None = None,
        before: str | None = None,
        mask: SecretMask | None = None,
        bundled: frozenset[str] = frozenset(),
        run: str | None = None,
    ) -> AfterStateRequest:
        assert self.result is not None
        return AfterStateRequest(
            workspace_id=self.id,
            workspace_dir=self.dir,
            name=self.name,
            mirror_path=self.result.mirror_path,
            base_commit=self.base,
            before_commit=before or self.base,
            uid=UID,
            gid=GID,
            execution_id=uuid4(),
            commit_message=message,
            mask=mask or SecretMask(),
            bundle_branch=BRANCH,
            bundled=bundled,
            run_commit=run,
        )


@dataclass
class Bench:
    """A node's git service and a project on it."""

    settings: Settings
    tool: DockerToolRunner
    project: UUID = field(default_factory=uuid4)

    @property
    def service(self) -> GitService:
        return GitService(self.settings, self.tool)

    def with_settings(self, **changes: object) -> "Bench":
        return Bench(self.settings.model_copy(update=changes), self.tool, self.project)

    def clone(
        self,
        url: str,
        target: str | None = None,
        name: str = "repo",
        into: Workspace | None = None,
        cancelled: Event | None = None,
        ref: str | None = None,
        start: RecordedStart | None = None,
    ) -> Workspace:
        workspace = into or self.workspace(name)
        request = CloneRequest(
            project_id=self.project,
            workspace_id=workspace.id,
            workspace_dir=workspace.dir,
            name=workspace.name,
            url=url,
            target_branch=target,
            branch=BRANCH,
            uid=UID,
            gid=GID,
            on_output=workspace.output.append,
            cancelled=cancelled or Event(),
            ref=ref,
            start=start,
        )
        workspace.result = self.service.clone(request)
        return workspace

    def workspace(self, name: str = "repo") -> Workspace:
        workspace_id = uuid4()
        return Workspace(workspace_id, self.settings.data_dir / "workspaces" / str(workspace_id), self.service, name)

    def left_overs(self) -> list[Path]:
        """What nothing should leave behind, however it ends."""
        data = self.settings.data_dir
        return [path for pattern in _LEFT_OVERS for path in data.glob(pattern)]

    def mirrors(self) -> list[Path]:
        return list(self.settings.data_dir.glob("mirrors/*/*.git"))


def start_of(workspace: Workspace, commit: str) -> RecordedStart:
    """A recorded state of a workspace, for another one to start from."""
    return RecordedStart(workspace.id, workspace.name, commit, workspace.base)


def push_request(workspace: Workspace, url: str, **changes: Any) -> PushRequest:
    """A push of the workspace's newest commit to the branch of the workspace's name."""
    values = {
        "workspace_id": workspace.id,
        "name": workspace.name,
        "url": url,
        "commit": workspace.commit,
        "base_commit": workspace.base,
        "branch": BRANCH,
        "on_output": workspace.output.append,
        "cancelled": Event(),
    }
    return PushRequest(**(values | changes))


def reset_request(workspace: Workspace, commit: str, store_of: UUID | None = None) -> ResetRequest:
    assert workspace.result is not None
    mirror = workspace.result.mirror_path
    return ResetRequest(workspace.dir, workspace.name, mirror, BRANCH, commit, UID, GID, Event(), store_of)


def merge_request(workspace: Workspace, target: str, **changes: Any) -> MergeRequest:
    """A merge of the workspace's newest commit into a commit of the mirror, or its replay after the base."""
    assert workspace.result is not None
    values = {
        "workspace_id": workspace.id,
        "workspace_dir": workspace.dir,
        "name": workspace.name,
        "mirror_path": workspace.result.mirror_path,
        "target_commit": target,
        "source_commit": workspace.commit,
        "base_commit": workspace.base,
        "pin": uuid4(),
        "uid": UID,
        "gid": GID,
        "cancelled": Event(),
        "message": "a merge",
    }
    return MergeRequest(**(values | changes))


def store_of(bench: Bench, workspace: Workspace) -> Store:
    return Store(bench.settings, workspace.id, workspace.name)


def refused(bench: Bench, reason: Reason, url: str, target: str | None = None) -> str:
    """The message of a clone that fails for the reason and leaves nothing behind but a complete mirror."""
    workspace = bench.workspace()
    with pytest.raises(StepFailed) as error:
        bench.clone(url, target, into=workspace)
    assert error.value.reason == reason, error.value
    assert not bench.left_overs()
    assert not workspace.clone.exists()
    return str(error.value)


def git_children() -> list[str]:
    return [child.name() for child in psutil.Process().children(recursive=True) if "git" in child.name()]
