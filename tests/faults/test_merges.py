"""kill -9 of the worker at the boundaries of merges and rebases: the target branch gets the work once, no clone is half.

The boundary is held open by a lock of the test's.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from tests.support.fault_stack import Stack
from tests.support.relay import git

pytestmark = [pytest.mark.docker, pytest.mark.timeout(240)]

MERGES = "SELECT 1 FROM merges WHERE workspace_id = :workspace FOR NO KEY UPDATE"
TASK = "SELECT 1 FROM tasks WHERE id = (SELECT task_id FROM workspaces WHERE id = :workspace) FOR NO KEY UPDATE"
BASE = "SELECT 1 FROM workspace_repos WHERE workspace_id = :workspace FOR NO KEY UPDATE"


@pytest.fixture
def bare(stack: Stack, tmp_path: Path) -> Path:
    """A remote of this test's own, without a work tree."""
    git("clone", "-q", "--bare", str(stack.repo), str(tmp_path / "remote.git"), cwd=tmp_path)
    return tmp_path / "remote.git"


@pytest.fixture
def run(stack: Stack, bare: Path) -> dict[str, Any]:
    """A workspace with one commit."""
    made = stack.relay.submit(bare, "echo mine >mine.txt")
    stack.relay.wait_chain(made)
    return made


@contextmanager
def locked(stack: Stack, statement: str, run: dict[str, Any]) -> Iterator[None]:
    with stack.relay.database.connect() as connection, connection.begin():
        connection.execute(text(statement), {"workspace": run["workspace_id"]})
        yield


def waiting(stack: Stack) -> bool:
    """Whether a worker's transaction waits for a lock."""
    with stack.relay.database.connect() as connection:
        asked = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND application_name LIKE 'w%'"
        return bool(connection.scalar(text(asked)))


def ask(stack: Stack, run: dict[str, Any], verb: str) -> dict[str, Any]:
    answer = stack.relay.http.post(f"/v1/workspaces/{run['workspace_id']}/{verb}", json={})
    assert answer.status_code == 202, answer.text
    return dict(answer.json())


def killed_while_it_waits(stack: Stack, run: dict[str, Any], statement: str, reached: Callable[[], bool]) -> None:
    """Kill the worker when it waits for the lock and has got as far as it should."""
    with locked(stack, statement, run):
        stack.relay.until(lambda: waiting(stack) and reached(), seconds=60, what="the worker at the lock")
        stack.relay.kill_9("worker")
    stack.relay.start("worker")


def tip(bare: Path) -> str:
    return git("rev-parse", "main", cwd=bare).strip()


def others_push(bare: Path, tmp_path: Path, name: str) -> str:
    clone = tmp_path / f"other-{name}"
    git("clone", "-q", str(bare), str(clone), cwd=tmp_path)
    (clone / name).write_text("theirs\n")
    git("add", "-A", cwd=clone)
    git("commit", "-q", "-m", name, cwd=clone)
    git("push", "-q", "origin", "HEAD:main", cwd=clone)
    return tip(bare)


def must_be_merged_once(stack: Stack, run: dict[str, Any], asked: dict[str, Any], bare: Path, before: str) -> None:
    ended = stack.relay.wait_end(asked["execution_id"], 90)
    assert ended["status"] == "completed", ended["error_reason"]
    found = stack.relay.get(f"/v1/merges/{asked['id']}")
    assert (found["status"], found["merge_commit"]) == ("merged", tip(bare))
    assert git("rev-list", f"{before}..main", cwd=bare).split() == [tip(bare)]
    assert git("show", "main:mine.txt", cwd=bare).strip() == "mine"
    assert stack.relay.get(f"/v1/workspaces/{run['workspace_id']}")["task"]["status"] == "done"
    with stack.relay.database.connect() as connection:
        stored = "SELECT merge_commit FROM execution_process_repo_states WHERE execution_process_id = :id"
        assert connection.scalar(text(stored), {"id": asked["execution_id"]}) == tip(bare)
    assert [kind for kind, _ in stack.events(asked["execution_id"])].count("merge.merged") == 1
    stack.must_be_whole(asked["execution_id"])


def merge_held(stack: Stack, run: dict[str, Any], statement: str, reached: Callable[[], bool]) -> dict[str, Any]:
    """Ask for a merge whose worker is killed at the lock."""
    asked = ask(stack, run, "merge")
    killed_while_it_waits(stack, run, statement, reached)
    return asked


def test_a_merge_before_its_commit_is_made(stack: Stack, run, bare):
    before = tip(bare)
    asked = merge_held(stack, run, MERGES, lambda: tip(bare) == before)
    must_be_merged_once(stack, run, asked, bare, before)


def test_a_merge_whose_push_has_arrived(stack: Stack, run, bare):
    before = tip(bare)
    asked = merge_held(stack, run, TASK, lambda: tip(bare) != before)
    pushed = tip(bare)
    must_be_merged_once(stack, run, asked, bare, before)
    assert tip(bare) == pushed


def test_a_merge_whose_push_has_arrived_and_others_pushed_since(stack: Stack, run, bare, tmp_path):
    before = tip(bare)
    asked = ask(stack, run, "merge")
    with locked(stack, TASK, run):
        stack.relay.until(lambda: waiting(stack) and tip(bare) != before, what="the push")
        pushed = tip(bare)
        later = others_push(bare, tmp_path, "later.txt")
        stack.relay.kill_9("worker")
    stack.relay.start("worker")
    assert stack.relay.wait_end(asked["execution_id"], 90)["status"] == "completed"
    assert stack.relay.get(f"/v1/merges/{asked['id']}")["merge_commit"] == pushed
    assert tip(bare) == later


def test_a_rebase_whose_clone_has_moved_and_whose_base_has_not(stack: Stack, run, bare, tmp_path):
    theirs = others_push(bare, tmp_path, "theirs.txt")
    clone = stack.relay.data_dir / "workspaces" / run["workspace_id"] / "repos" / "remote"
    asked = ask(stack, run, "rebase")
    killed_while_it_waits(stack, run, BASE, (clone / "theirs.txt").exists)
    ended = stack.relay.wait_end(asked["id"], 90)
    assert ended["status"] == "completed", ended["error_reason"]
    assert b"an interrupted rebase is undone" in stack.relay.log(asked["id"])
    [repo] = stack.relay.get(f"/v1/workspaces/{run['workspace_id']}")["repos"]
    assert repo["base_commit"] == theirs
    words = ("-c", "safe.directory=*", "-c", "core.fsmonitor=false")
    assert git(*words, "rev-list", "--count", f"{theirs}..HEAD", cwd=clone).strip() == "1"
    assert git(*words, "status", "--porcelain", cwd=clone) == ""
    assert (clone / "mine.txt").read_text() == "mine\n"
    stack.must_be_whole(asked["id"])


def test_a_merge_after_a_rebase_brings_the_work_on_top(stack: Stack, run, bare, tmp_path):
    theirs = others_push(bare, tmp_path, "theirs.txt")
    assert stack.relay.wait_end(ask(stack, run, "rebase")["id"])["status"] == "completed"
    asked = ask(stack, run, "merge")
    must_be_merged_once(stack, run, asked, bare, theirs)
