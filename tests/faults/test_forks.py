"""kill -9 of the worker in the middle of a fork: the new workspace gets the whole state once, its source stays as it is."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from tests.support.fault_stack import Stack
from tests.support.relay import git

pytestmark = [pytest.mark.docker, pytest.mark.timeout(240)]

WORK = "head -c 3000000 /dev/urandom >large; git add -A; git commit -qm large; echo open >open"


@pytest.fixture(scope="module")
def source() -> dict[str, Any]:
    """A workspace whose agent has committed `large` and left `open` uncommitted; made by the first test."""
    return {}


def worked(stack: Stack, source: dict[str, Any]) -> dict[str, Any]:
    if not source:
        source |= stack.relay.submit(stack.repo, WORK, auto_commit=False)
        stack.relay.wait_chain(source)
    return source


def forked(stack: Stack, source: dict[str, Any]) -> dict[str, Any]:
    body = {
        "from_workspace": source["workspace_id"],
        "executor": {"name": "shell", "command": "git log -1 --format=%s"},
    }
    answer = stack.relay.http.post(f"/v1/tasks/{source['task_id']}/workspaces", json=body)
    assert answer.status_code == 202, answer.text
    return dict(answer.json())


@contextmanager
def locked(stack: Stack, run: dict[str, Any]) -> Iterator[None]:
    """Hold the row in which the clone stores its end."""
    statement = text("SELECT 1 FROM workspace_repos WHERE workspace_id = :workspace FOR NO KEY UPDATE")
    with stack.relay.database.connect() as connection, connection.begin():
        connection.execute(statement, {"workspace": run["workspace_id"]})
        yield


def clone_of(stack: Stack, run: dict[str, Any]) -> Path:
    return stack.relay.data_dir / "workspaces" / run["workspace_id"] / "repos" / stack.repo.name


def must_be_whole(stack: Stack, run: dict[str, Any], source: dict[str, Any]) -> None:
    steps = {step["run_reason"]: step for step in stack.relay.wait_chain(run)}
    assert {name: step["status"] for name, step in steps.items()} == {"clone": "completed", "coding_agent": "completed"}
    stack.must_be_whole(steps["clone"]["id"])
    assert stack.relay.log(steps["coding_agent"]["id"]) == b"Work tree after the step\n"
    mine, theirs = clone_of(stack, run), clone_of(stack, source)
    for name in ("large", "open"):
        assert (mine / name).read_bytes() == (theirs / name).read_bytes()
    assert git("-c", f"safe.directory={mine}", "fsck", "--strict", "--connectivity-only", cwd=mine) == ""
    assert git("-c", f"safe.directory={theirs}", "status", "--porcelain", cwd=theirs) == "?? open"


def busy(true: Callable[[], bool]) -> bool:
    """Look without a pause for a while: the moment is what counts."""
    deadline = time.monotonic() + 1
    while not true():
        if time.monotonic() > deadline:
            return False
    return True


def test_while_the_recorded_state_is_copied(stack: Stack, source: dict[str, Any]) -> None:
    worked(stack, source)
    run = forked(stack, source)
    store = stack.relay.data_dir / "stores" / run["workspace_id"]
    stack.relay.until(lambda: busy(store.exists), seconds=60, what="the copy begins")
    stack.relay.kill_9("worker")
    stack.relay.start("worker")
    must_be_whole(stack, run, source)


def test_when_the_clone_is_made_and_not_stored(stack: Stack, source: dict[str, Any]) -> None:
    worked(stack, source)
    run = forked(stack, source)
    with locked(stack, run):
        stack.relay.until((clone_of(stack, run) / "open").exists, seconds=60, what="the clone is made")
        stack.relay.kill_9("worker")
    stack.relay.start("worker")
    must_be_whole(stack, run, source)
