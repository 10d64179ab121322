"""`relay fetch | push | apply` against an API whose database holds what a worker would have recorded."""

import json
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
import zstandard
from sqlalchemy import select, update

from relay_core.store.schema.tables import WorkspaceRepo
from relay_core.store.transaction import Database
from tests.support.api_fixtures import Api, Worker, api_on_a_port, settings_for
from tests.support.cli import Called, call_relay
from tests.support.git_bench import Remote, git


@dataclass
class Desk:
    """A clone of a person, a workspace that changed a copy of it, and the API."""

    api: Api
    worker: Worker
    clone: Remote
    made: dict[str, Any]
    base: str
    branch: str

    def relay(self, *argv: str, cwd: Path | None = None) -> Called:
        env = {"RELAY_API_URL": str(self.api.client.base_url), "RELAY_TOKEN": self.api.tokens["ann"]}
        return call_relay(*argv, cwd=cwd or self.clone.path, env=env)

    def record(self, work: Path, **columns: Any) -> str:
        """Store the state of a work tree's HEAD as the clone execution's after-state."""
        head = git(work, "rev-parse", "HEAD")
        git(work, "branch", "-qf", self.branch, head)
        patch = subprocess.run(
            ("git", "diff", "--binary", "--full-index", "-M", self.base, head),
            cwd=work,
            capture_output=True,
            check=True,
        ).stdout
        files = len(git(work, "diff", "--name-only", self.base, head).split())
        values = {
            "pinned_commit": head,
            "after_head_commit": head,
            "patch": zstandard.compress(patch),
            "stat": {"files": files, "insertions": 1, "deletions": 0, "truncated": False},
            "bundle": None if head == self.base else self.bundle(work),
        }
        self.worker.finish(self.worker.claim(self.made["execution_id"]), repo_states={self.repo_id: values | columns})
        return head

    def bundle(self, work: Path) -> bytes:
        command = ("git", "bundle", "create", "-q", "-", f"refs/heads/{self.branch}", f"^{self.base}")
        return subprocess.run(command, cwd=work, capture_output=True, check=True).stdout

    @property
    def repo_id(self) -> UUID:
        with self.api.database.connect() as connection:
            return connection.scalars(select(WorkspaceRepo.repo_id)).one()


@pytest.fixture
def api(database: Database, database_url: str, redis_url: str) -> Iterator[Api]:
    with api_on_a_port(database, settings_for(database_url, redis_url, git_allow_file=True)) as api:
        yield api


@pytest.fixture
def desk(api: Api, database: Database, tmp_path: Path) -> Desk:
    path = tmp_path / "app"
    path.mkdir()
    git(path, "init", "-q", "-b", "main")
    clone = Remote(path)
    base = clone.commit({"README": "hello\n", "a": "1\n", "gone": "x\n", "moved": "same\n" * 9})
    made = api.run(repos=[{"url": clone.url, "target_branch": "main"}])
    with database.begin() as connection:
        connection.execute(update(WorkspaceRepo).values(base_commit=base))
    branch = api.get(f"/v1/workspaces/{made['workspace_id']}").json()["branch"]
    return Desk(api, Worker(database), clone, made, base, branch)


@pytest.fixture
def work(desk: Desk, tmp_path: Path) -> Path:
    """A clone with changes of each kind, as a workspace would have it."""
    path = tmp_path / "work"
    git(tmp_path, "clone", "-q", str(desk.clone.path), str(path))
    (path / "a").write_text("2\n")
    (path / "gone").unlink()
    (path / "moved").rename(path / "new place")
    (path / "run").write_text("#!/bin/sh\n")
    (path / "run").chmod(0o755)
    (path / "README").chmod(0o755)
    (path / "logo.png").write_bytes(bytes(range(256)) * 4)
    (path / "link").symlink_to("a")
    (path / "ünï\tcode").write_text("x\n")
    git(path, "add", "-A")
    git(path, "commit", "-qm", "work")
    return path


def snapshot(repo: Path) -> tuple[Any, ...]:
    """The parts that `fetch` must not touch: the index, HEAD, refs but new ones, and the work tree."""
    git_dir = repo / ".git"
    return (
        (git_dir / "index").read_bytes(),
        (git_dir / "HEAD").read_text(),
        git(repo, "--no-optional-locks", "status", "--porcelain", "--ignored"),
        git(repo, "rev-parse", "main"),
        (git_dir / "FETCH_HEAD").exists(),
    )


def test_fetch_makes_a_branch_and_touches_nothing_else(desk: Desk, work: Path):
    head = desk.record(work)
    (desk.clone.path / "a").write_text("dirty\n")
    before = snapshot(desk.clone.path)

    done = desk.relay("fetch", desk.made["workspace_id"], "--json", cwd=desk.clone.path.parent)

    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == [
        {
            "repo": "app",
            "clone": str(desk.clone.path),
            "remote": None,
            "branch": desk.branch,
            "commit": head,
            "base": desk.base,
            "commits": 1,
            "uncommitted": False,
        }
    ]
    assert f"git merge {desk.branch}" in done.stderr
    assert git(desk.clone.path, "rev-parse", desk.branch) == head
    assert snapshot(desk.clone.path) == before


def test_without_an_id_the_newest_workspace_of_the_repository_here_is_meant(desk: Desk, work: Path):
    head = desk.record(work, after_head_commit=desk.base)
    folder = desk.clone.path / "sub"
    folder.mkdir()

    done = desk.relay("fetch", "--branch", "mine", cwd=folder)

    assert done.returncode == 0, done.stderr
    assert git(desk.clone.path, "rev-parse", "mine") == head
    assert "its last commit holds what was not committed in the workspace" in done.stderr
    elsewhere = desk.relay("fetch", cwd=desk.clone.path.parent)
    assert (elsewhere.returncode, "give the id" in elsewhere.stderr) == (2, True)


def test_a_clone_is_found_by_its_remote_or_named(database: Database, work: Path, desk: Desk, tmp_path: Path):
    url = "https://git.example.org/team/app.git"
    git(desk.clone.path, "remote", "add", "upstream", "git@git.example.org:team/app")
    with database.begin() as connection:
        connection.execute(update(WorkspaceRepo).values(url=url))
    head = desk.record(work)

    away = desk.relay("fetch", desk.made["workspace_id"], cwd=tmp_path)
    assert (away.returncode, f"no clone of {url} is here" in away.stderr) == (2, True)
    assert desk.relay("fetch").returncode == 0
    assert git(desk.clone.path, "rev-parse", desk.branch) == head
    bare = tmp_path / "bare.git"
    git(tmp_path, "clone", "-q", "--bare", str(desk.clone.path), str(bare))
    git(bare, "update-ref", "-d", f"refs/heads/{desk.branch}")
    named = desk.relay("fetch", desk.made["workspace_id"], "--into", str(bare), cwd=tmp_path)
    assert named.returncode == 0, named.stderr
    assert git(bare, "rev-parse", desk.branch) == head


def test_a_branch_is_forwarded_and_never_lost(desk: Desk, work: Path):
    head = desk.record(work)
    git(desk.clone.path, "branch", desk.branch, "main")
    by_run = desk.relay("fetch", desk.made["run_id"][:8], cwd=desk.clone.path.parent)
    assert by_run.returncode == 0, by_run.stderr
    assert desk.relay("fetch", desk.made["execution_id"]).returncode == 0, "the second time nothing is left to do"
    mine = git(desk.clone.path, "commit-tree", "-p", desk.base, "-m", "mine", f"{desk.base}^{{tree}}")
    git(desk.clone.path, "update-ref", f"refs/heads/{desk.branch}", mine)

    refused = desk.relay("fetch")
    assert refused.returncode == 1
    assert "has commits that app of the workspace does not have" in refused.stderr
    assert git(desk.clone.path, "rev-parse", desk.branch) == mine
    assert desk.relay("fetch", "--force").returncode == 0
    assert git(desk.clone.path, "rev-parse", desk.branch) == head

    git(desk.clone.path, "checkout", "-q", desk.branch)
    assert "is checked out in" in desk.relay("fetch").stderr
    assert "no name that git takes" in desk.relay("fetch", "--branch", "a..b").stderr


def test_a_clone_without_the_base_commit_is_told_what_to_fetch(desk: Desk, work: Path, tmp_path: Path):
    desk.record(work)
    other = tmp_path / "other"
    other.mkdir()
    git(other, "init", "-q")
    git(other, "remote", "add", "origin", desk.clone.url)

    refused = desk.relay("fetch", desk.made["workspace_id"], cwd=other)

    assert refused.returncode == 1
    assert f"lacks the commit {desk.base[:12]}" in refused.stderr
    command = f"git -C {other} fetch origin main"
    assert command in refused.stderr
    subprocess.run(command.split(), check=True, capture_output=True)
    git(other, "update-ref", "refs/remotes/origin/main", "FETCH_HEAD")
    assert desk.relay("fetch", desk.made["workspace_id"], cwd=other).returncode == 0


def test_what_has_no_bundle_is_told(desk: Desk, work: Path):
    assert "no state of it is recorded yet" in desk.relay("fetch").stderr
    desk.record(work, bundle=None, bundle_problem="its commits contain a secret")
    refused = desk.relay("fetch")
    assert refused.returncode == 2
    assert "there is no bundle of app: its commits contain a secret [no_bundle]" in refused.stderr


def test_where_nothing_changed_there_is_nothing_to_get(desk: Desk):
    desk.record(desk.clone.path)
    done = desk.relay("fetch")
    assert (done.returncode, "nothing changed" in done.stderr) == (0, True)
    assert "nothing changed" in desk.relay("apply").stderr


def test_of_several_repositories_each_goes_into_its_own_clone(desk: Desk, work: Path, tmp_path: Path):
    other = tmp_path / "lib"
    other.mkdir()
    git(other, "init", "-q", "-b", "main")
    base = Remote(other).commit({"a": "1\n"})
    two = [{"url": desk.clone.url}, {"url": f"file://{other}"}]
    made = desk.api.run(repos=two)
    mine = WorkspaceRepo.workspace_id == UUID(made["workspace_id"])
    with desk.api.database.begin() as connection:
        for name, commit in (("app", desk.base), ("lib", base)):
            connection.execute(update(WorkspaceRepo).where(mine, WorkspaceRepo.name == name).values(base_commit=commit))
        rows = connection.execute(select(WorkspaceRepo.name, WorkspaceRepo.repo_id).where(mine))
        ids = {row.name: row.repo_id for row in rows}
    desk.branch = desk.api.get(f"/v1/workspaces/{made['workspace_id']}").json()["branch"]
    head = git(work, "rev-parse", "HEAD")
    git(work, "branch", desk.branch, head)
    bundled = {"pinned_commit": head, "after_head_commit": head, "bundle": desk.bundle(work)}
    excluded = {"count": 2, "paths": [{"path": f"{name}/", "pattern": "venv/"} for name in ("venv", "b/venv")]}
    same = {"pinned_commit": base, "after_head_commit": base}
    states = {
        ids["app"]: {**bundled, "patch": zstandard.compress(b"p"), "stat": {"files": 1, "excluded": excluded}},
        ids["lib"]: {**same, "patch": zstandard.compress(b""), "stat": {"files": 0}},
    }
    desk.worker.finish(desk.worker.claim(made["execution_id"]), repo_states=states)

    both = desk.relay("fetch", made["workspace_id"])

    assert both.returncode == 0, both.stderr
    assert git(desk.clone.path, "rev-parse", desk.branch) == head
    assert "lib: nothing changed" in both.stderr
    assert "app: left out, as the server's exclude list has them: venv/ (2 times)" in both.stderr
    for option in ("--branch", "--into"):
        refused = desk.relay("fetch", made["workspace_id"], option, "x")
        assert (refused.returncode, "name one with --repo: app, lib" in refused.stderr) == (2, True)
    unknown = desk.relay("fetch", made["workspace_id"], "--repo", "x")
    assert (unknown.returncode, "has no repository x" in unknown.stderr) == (2, True)
    one = desk.relay("fetch", made["workspace_id"], "--repo", "app", "--branch", "one")
    assert (one.returncode, git(desk.clone.path, "rev-parse", "one")) == (0, head)


def test_push_sends_the_branch_with_the_person_s_own_git(desk: Desk, work: Path, tmp_path: Path):
    head = desk.record(work)
    assert "has no remote to push to" in desk.relay("push").stderr
    upstream = tmp_path / "upstream.git"
    git(tmp_path, "init", "-q", "--bare", str(upstream))
    git(desk.clone.path, "remote", "add", "origin", str(upstream))

    done = desk.relay("push", desk.made["workspace_id"])

    assert done.returncode == 0, done.stderr
    assert git(upstream, "rev-parse", desk.branch) == head
    git(desk.clone.path, "remote", "set-url", "origin", str(tmp_path / "nowhere"))
    failed = desk.relay("push")
    assert failed.returncode == 1
    assert "git push ended with code 128" in failed.stderr


def test_apply_makes_every_kind_of_change_in_the_work_tree_only(desk: Desk, work: Path):
    desk.record(work)
    git(desk.clone.path, "commit", "-q", "--allow-empty", "-m", "later")
    index = (desk.clone.path / ".git/index").read_bytes()

    done = desk.relay("apply", cwd=desk.clone.path)

    assert done.returncode == 0, done.stderr
    assert (desk.clone.path / ".git/index").read_bytes() == index
    git(desk.clone.path, "add", "-A")
    assert git(desk.clone.path, "write-tree") == git(work, "rev-parse", "HEAD^{tree}")


def test_apply_changes_nothing_where_a_part_does_not_apply(desk: Desk, work: Path):
    desk.record(work)
    (desk.clone.path / "a").write_text("other\n")
    git(desk.clone.path, "commit", "-qam", "other")

    refused = desk.relay("apply")

    assert refused.returncode == 1
    assert "patch failed: a:1" in refused.stderr
    assert "nothing was changed; --3way merges" in refused.stderr
    assert git(desk.clone.path, "status", "--porcelain") == ""
    merged = desk.relay("apply", "--3way")
    assert (merged.returncode, "not all of it could be merged" in merged.stderr) == (1, True)
    assert "<<<<<<<" in (desk.clone.path / "a").read_text()


@pytest.mark.parametrize(
    ("stat", "words"),
    [
        ({"files": 1, "masked": ["a"]}, "secrets are masked in a"),
        ({"files": 1, "truncated": True}, "it was too long and is cut"),
    ],
)
def test_apply_refuses_a_patch_that_is_not_the_whole_change(desk: Desk, work: Path, stat: dict[str, Any], words: str):
    desk.record(work, stat=stat)
    refused = desk.relay("apply")
    assert (refused.returncode, words in refused.stderr) == (1, True)
    assert git(desk.clone.path, "status", "--porcelain") == ""


def test_the_api_s_patch_passes_git_apply(desk: Desk, work: Path):
    desk.record(work)
    patch = desk.api.get(f"/v1/workspaces/{desk.made['workspace_id']}/diff?format=patch").content
    subprocess.run(("git", "apply", "--index", "-"), cwd=desk.clone.path, input=patch, check=True)
    assert git(desk.clone.path, "write-tree") == git(work, "rev-parse", "HEAD^{tree}")
