"""The rows of a node's git mirrors, and their removal on request, which never takes what a clone uses."""

import fcntl
import subprocess
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import func, select, update

from relay_core.domain import execution as machine
from relay_core.domain.agents.executors import ExecutorChoice
from relay_core.domain.errors import Conflict, NotFound, StepFailed
from relay_core.domain.limits import Limits
from relay_core.domain.vocabulary import Scope
from relay_core.settings import Settings
from relay_core.store.executions.finish import finish
from relay_core.store.nodes import runtime_nodes
from relay_core.store.projects import clones, mirrors, projects
from relay_core.store.projects.mirrors import MirrorFilter
from relay_core.store.projects.projects import ProjectInput, ProjectRepoInput
from relay_core.store.schema.tables import Event, ExecutionProcess, Mirror, RuntimeNode, Workspace
from relay_core.store.tokens import Principal
from relay_core.store.transaction import Database
from relay_core.store.views.paging import PageRequest
from relay_core.store.workspaces.submit import RepoInput, RunInput, submit_run
from relay_workers.execution.mirrors import MirrorFetches
from relay_workers.git.port import FetchRequest
from relay_workers.git.service import GitService
from relay_workers.maintenance.mirror_purges import MirrorPurges
from tests.support.fake_node import NoTool

ME = Principal("someone", frozenset({Scope.WRITE}))
OTHER = Principal("another", frozenset({Scope.WRITE}))
ADMIN = Principal("root", frozenset({Scope.ADMIN}))
NODE = "node-1"


@dataclass
class Bench:
    """A node's mirrors with real git, without containers."""

    database: Database
    settings: Settings
    git: GitService
    url: str

    @property
    def fetches(self) -> MirrorFetches:
        return MirrorFetches(self.database, self.git, NODE)

    @property
    def purges(self) -> MirrorPurges:
        return MirrorPurges(NODE, self.database, self.git)

    def workspace(self, url: str | None = None) -> tuple[UUID, UUID]:
        """A workspace that is placed on the node, and its project."""
        run = RunInput((RepoInput(url or self.url),), "do it", ExecutorChoice("shell", "true"), Limits())
        with self.database.begin() as connection:
            made = submit_run(connection, run, ME, self.settings)
            self._set(connection, made.workspace_id, node_id=NODE)
        return made.workspace_id, made.project_id

    def place(self, workspace_id: UUID) -> None:
        """As a clone does before it fetches."""
        with self.database.begin() as connection:
            self._set(connection, workspace_id, container_ref="/somewhere")

    def remove(self, workspace_id: UUID) -> None:
        """As the node does after the deletion of a workspace."""
        with self.database.begin() as connection:
            self._set(connection, workspace_id, container_ref=None)

    def _set(self, connection: Any, workspace_id: UUID, **values: Any) -> None:
        connection.execute(update(Workspace).where(Workspace.id == workspace_id).values(values))

    def fetch(self, project_id: UUID, url: str | None = None, **more: Any) -> Path:
        request = FetchRequest(project_id, url or self.url, None, lambda _: None, threading.Event(), **more)
        return self.fetches.fetch(request).mirror_path

    def row(self, url: str | None = None) -> dict[str, Any]:
        with self.database.connect() as connection:
            found = connection.execute(select(Mirror.__table__).where(Mirror.remote == (url or self.url)))
            return dict(found.mappings().one())

    def purge_events(self) -> list[tuple[UUID, dict[str, Any]]]:
        told = select(Event.project_id, Event.payload).where(Event.kind == "mirror.purged").order_by(Event.id)
        with self.database.connect() as connection:
            return [tuple(row) for row in connection.execute(told)]

    def list(self, principal: Principal = ME, **conditions: Any) -> list[dict[str, Any]]:
        with self.database.connect() as connection:
            return mirrors.listed(connection, principal, MirrorFilter(**conditions), PageRequest()).items

    def ask(self, principal: Principal = ME) -> dict[str, Any]:
        with self.database.begin() as connection:
            return mirrors.request_purge(connection, self.row()["id"], principal)


@pytest.fixture
def bench(database: Database, tmp_path: Path) -> Bench:
    remote = tmp_path / "remote"
    remote.mkdir()
    words = ["git", "-c", "user.name=t", "-c", "user.email=t@example.org"]
    for more in (["init", "-q", "-b", "main"], ["commit", "-q", "--allow-empty", "-m", "first"]):
        subprocess.run([*words, *more], cwd=remote, check=True)
    settings = Settings(data_dir=tmp_path / "data", git_allow_file=True, node_min_free_bytes=0)
    with database.begin() as connection:
        runtime_nodes.heartbeat(connection, NODE, pool="default", client_version="0", capabilities={})
    return Bench(database, settings, GitService(settings, NoTool()), f"file://{remote}")


def test_a_fetch_leaves_its_outcome_in_the_row_of_the_mirror(bench: Bench) -> None:
    _, project_id = bench.workspace()
    path = bench.fetch(project_id)

    first = bench.row()
    assert (first["node_id"], first["project_id"], first["credential"]) == (NODE, project_id, "node")
    assert (first["state"], first["error"], first["path"]) == ("ready", None, str(path))
    bench.fetch(project_id)
    again = bench.row()
    assert again["id"] == first["id"]
    assert again["fetched_at"] > first["fetched_at"]


def test_a_failed_fetch_says_why_and_keeps_the_time_of_the_last_good_one(bench: Bench, tmp_path: Path) -> None:
    _, project_id = bench.workspace()
    bench.fetch(project_id)
    good = bench.row()["fetched_at"]
    (tmp_path / "remote").rename(tmp_path / "moved")

    with pytest.raises(StepFailed):
        bench.fetch(project_id)
    row = bench.row()
    assert row["state"] == "failed"
    assert "cannot clone" in row["error"]
    assert row["fetched_at"] == good
    (tmp_path / "moved").rename(tmp_path / "remote")
    bench.fetch(project_id)
    assert (bench.row()["state"], bench.row()["error"]) == ("ready", None)


def test_a_missing_branch_is_no_fault_of_the_mirror(bench: Bench) -> None:
    _, project_id = bench.workspace()
    with pytest.raises(StepFailed, match="no branch or tag"):
        bench.fetch(project_id, ref="nowhere")
    assert bench.row()["state"] == "ready"


def test_each_project_and_remote_has_a_mirror_of_its_own(bench: Bench) -> None:
    _, first = bench.workspace()
    bench.fetch(first)
    second = uuid4()
    _, second = bench.workspace(f"{bench.url}/.git")
    bench.fetch(second, f"{bench.url}/.git")

    assert {found["project_id"] for found in bench.list()} == {first, second}
    assert [found["remote"] for found in bench.list(project_id=first)] == [bench.url]
    assert len(bench.list(node_id=NODE)) == 2
    assert bench.list(node_id="another") == []


def test_an_owner_sees_and_removes_only_the_mirrors_of_its_own_projects(bench: Bench) -> None:
    _, project_id = bench.workspace()
    bench.fetch(project_id)

    assert bench.list(OTHER) == []
    with pytest.raises(NotFound):
        bench.ask(OTHER)
    assert len(bench.list(ADMIN)) == 1
    assert bench.ask(ADMIN)["purge_requested_at"] is not None


def test_a_mirror_is_removed_on_request_and_fetched_anew(bench: Bench) -> None:
    _, project_id = bench.workspace()
    path = bench.fetch(project_id)
    assert bench.purges.sweep() == 0
    assert path.is_dir()

    assert bench.ask()["purge_waits_for"] == "node"
    assert bench.purges.sweep() == 1
    assert not path.exists()
    assert bench.list() == []
    assert bench.fetch(project_id) == path
    assert bench.list()[0]["purge_requested_at"] is None


def test_a_mirror_of_a_node_that_is_away_waits_for_it(bench: Bench) -> None:
    _, project_id = bench.workspace()
    bench.fetch(project_id)
    with bench.database.begin() as connection:
        connection.execute(update(RuntimeNode).values(liveness="offline"))
    assert bench.ask()["purge_waits_for"] == "offline"


def test_a_mirror_that_a_live_clone_uses_stays(bench: Bench) -> None:
    workspace_id, project_id = bench.workspace()
    bench.place(workspace_id)
    bench.fetch(project_id)

    assert bench.list()[0]["workspaces"] == 1
    with pytest.raises(Conflict) as refused:
        bench.ask()
    assert refused.value.code == "mirror_in_use"
    bench.remove(workspace_id)
    assert bench.list()[0]["workspaces"] == 0
    assert bench.ask()["purge_waits_for"] == "node"


def test_a_clone_that_begins_after_the_request_keeps_the_mirror_until_its_workspace_is_gone(bench: Bench) -> None:
    workspace_id, project_id = bench.workspace()
    path = bench.fetch(project_id)
    bench.ask()
    bench.place(workspace_id)

    assert bench.list()[0]["purge_waits_for"] == "workspaces"
    assert bench.purges.sweep() == 0
    assert path.is_dir()
    bench.remove(workspace_id)
    assert bench.purges.sweep() == 1
    assert not path.exists()


def test_a_clone_that_fetches_during_the_removal_makes_the_mirror_anew(bench: Bench) -> None:
    """The removal holds the mirror's lock and has found no workspace when the clone begins."""
    workspace_id, project_id = bench.workspace()
    path = bench.fetch(project_id)
    bench.ask()
    looked, go_on = threading.Event(), threading.Event()
    purge = threading.Thread(target=lambda: _slow(bench, looked, go_on).sweep())
    purge.start()
    assert looked.wait(30)
    bench.place(workspace_id)
    fetched: list[Path] = []
    clone = threading.Thread(target=lambda: fetched.append(bench.fetch(project_id)))
    clone.start()
    clone.join(0.3)  # nothing says that it waits for the lock
    assert fetched == []
    go_on.set()
    purge.join(30)
    clone.join(30)

    assert fetched == [path]
    subprocess.run(["git", "-C", str(path), "rev-parse", "--verify", "-q", "main^{commit}"], check=True)
    assert bench.row()["state"] == "ready"
    assert bench.purges.sweep() == 0  # a workspace uses it now
    assert path.is_dir()


def test_a_clone_that_has_fetched_before_the_removal_looks_keeps_the_mirror(bench: Bench) -> None:
    """The request was due when the sweep began; the clone stored its place and fetched before the lock was taken."""
    workspace_id, project_id = bench.workspace()
    path = bench.fetch(project_id)
    bench.ask()
    with bench.database.connect() as connection:
        (due,) = mirrors.due_purges(connection, NODE)
    bench.place(workspace_id)
    bench.fetch(project_id)

    def is_due() -> bool:
        with bench.database.connect() as connection:
            return mirrors.is_due(connection, due)

    assert not bench.git.remove_mirror(project_id, bench.url, is_due)
    assert path.is_dir()


def test_a_removal_that_was_cut_short_is_finished_by_the_next_sweep(bench: Bench) -> None:
    """The worker dies between the removal of the files and that of the row; the mirror may be fetched in between."""
    _, project_id = bench.workspace()
    path = bench.fetch(project_id)
    bench.ask()
    assert bench.git.remove_mirror(project_id, bench.url, lambda: True)
    assert bench.row()["purge_requested_at"] is not None
    with bench.database.connect() as connection:
        (due,) = mirrors.due_purges(connection, NODE)
    bench.fetch(project_id)
    with bench.database.begin() as connection:
        mirrors.purged(connection, due)
    assert bench.row()["state"] == "ready"  # it exists again, so its row stays
    assert bench.purges.sweep() == 1
    assert not path.exists()
    assert bench.list() == []


def test_the_mirrors_of_a_deleted_project_are_removed_once_nothing_uses_them(bench: Bench) -> None:
    workspace_id, project_id = bench.workspace()
    bench.place(workspace_id)
    path = bench.fetch(project_id)
    other_workspace, other = bench.workspace(f"{bench.url}/.git")
    kept = bench.fetch(other, f"{bench.url}/.git")
    projects.delete(bench.database, project_id, ME)
    assert bench.purges.sweep() == 0, "the files of the workspace are still on the node"
    assert path.is_dir()

    bench.remove(workspace_id)
    assert bench.purges.sweep() == 1
    assert not path.parent.exists(), "no lock is left, and no empty directory"
    assert kept.is_dir()
    payload = {"node_id": NODE, "remote": bench.url, "why": "the project was deleted"}
    assert bench.purge_events() == [(project_id, payload)]
    assert bench.purges.sweep() == 0
    bench.remove(other_workspace)


def test_a_mirror_stays_while_a_clone_of_its_project_runs_on_the_node(bench: Bench) -> None:
    with bench.database.begin() as connection:
        wanted = ProjectInput("shop", repos=[ProjectRepoInput(bench.url)])
        project_id = projects.create(connection, wanted, ME)
        clone = clones.start_clone(connection, project_id, "default", ME.owner)
        running = {"status": "running", "node_id": NODE, "owner": "w@node-1#1", "started_at": func.now()}
        connection.execute(update(ExecutionProcess).where(ExecutionProcess.id == clone).values(running))
    path = bench.fetch(project_id)
    assert bench.ask()["purge_waits_for"] == "clone"
    assert bench.purges.sweep() == 0
    assert path.is_dir()
    with bench.database.begin() as connection:
        finish(connection, clone, 0, machine.completed(0))
    assert bench.list()[0]["purge_waits_for"] == "node"
    assert bench.purges.sweep() == 1
    assert not path.exists()
    payload = {"node_id": NODE, "remote": bench.url, "why": "its removal was requested"}
    assert bench.purge_events() == [(project_id, payload)]


def test_a_fetch_that_waits_for_the_lock_of_a_removed_mirror_takes_a_new_lock(bench: Bench) -> None:
    """The lock file goes with the mirror: one that was opened before locks nothing."""
    _, project_id = bench.workspace()
    path = bench.fetch(project_id)
    lock = path.with_suffix(".lock")
    before = lock.stat().st_ino
    with lock.open() as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        assert not bench.git.remove_mirror(project_id, bench.url, lambda: True)
        fetched: list[Path] = []
        clone = threading.Thread(target=lambda: fetched.append(bench.fetch(project_id)))
        clone.start()
        clone.join(0.3)  # nothing says that it waits for the lock
        lock.unlink()
    clone.join(30)
    assert fetched == [path]
    assert lock.stat().st_ino != before or lock.stat().st_nlink == 1
    assert bench.git.remove_mirror(project_id, bench.url, lambda: True)


def _slow(bench: Bench, looked: threading.Event, go_on: threading.Event) -> MirrorPurges:
    """A sweep that pauses after it has found, under the mirror's lock, that no workspace uses it."""

    class Slow(GitService):
        def remove_mirror(self, project_id: UUID, url: str, wanted: Callable[[], bool]) -> bool:
            def then_wait() -> bool:
                answer = wanted()
                looked.set()
                go_on.wait(30)
                return answer

            return super().remove_mirror(project_id, url, then_wait)

    return MirrorPurges(NODE, bench.database, Slow(bench.settings, NoTool()))
