"""kill -9 of the worker in the middle of a fork: the new workspace gets the whole state once, its source stays as it is."""

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from tests.support.fault_stack import Stack
from tests.support.relay import git

pytestmark = [pytest.mark.docker, pytest.mark.timeout(240)]

WORK = "head -c 20000000 /dev/urandom >large; git add -A; git commit -qm large; echo open >open"


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


def stopped_copy(run: dict[str, Any]) -> int | None:
    """Stop the git process that writes the recorded state into the store of a run; return its id."""
    for entry in Path("/proc").iterdir():
        with suppress(OSError):  # it has ended
            if entry.name.isdecimal() and b"\0index-pack\0" in (entry / "cmdline").read_bytes():
                if f"/stores/{run['workspace_id']}/".encode() not in (entry / "environ").read_bytes():
                    continue
                os.kill(int(entry.name), signal.SIGSTOP)
                return int(entry.name)
    return None


def held_copy(stack: Stack, source: dict[str, Any]) -> tuple[dict[str, Any], int]:
    """A fork, and the id of the process that was stopped while it copied; a copy that was too fast is made again."""
    for _ in range(5):
        run = forked(stack, source)
        over = time.monotonic() + 60
        while time.monotonic() < over and not (clone_of(stack, run) / "open").exists():  # no pause: the moment counts
            if (copying := stopped_copy(run)) is not None:
                return run, copying
        stack.relay.wait_chain(run)
    raise AssertionError("no copy of the recorded state was seen")


def test_while_the_recorded_state_is_copied(stack: Stack, source: dict[str, Any]) -> None:
    worked(stack, source)
    run, copying = held_copy(stack, source)
    store = stack.relay.data_dir / "stores" / run["workspace_id"] / f"{stack.repo.name}.git"
    try:
        stack.relay.kill_9("worker")
        assert store.is_dir()
        assert [path for kind in ("objects/pack/*.pack", "refs/relay/*") for path in store.glob(kind)] == []
    finally:
        os.kill(copying, signal.SIGKILL)
    stack.relay.start("worker")
    must_be_whole(stack, run, source)
    assert len(list(store.glob("refs/relay/*"))) > 1, "the start is pinned, and what the agent left"


def test_when_the_clone_is_made_and_not_stored(stack: Stack, source: dict[str, Any]) -> None:
    worked(stack, source)
    run = forked(stack, source)
    with locked(stack, run):
        stack.relay.until((clone_of(stack, run) / "open").exists, seconds=60, what="the clone is made")
        stack.relay.kill_9("worker")
    stack.relay.start("worker")
    must_be_whole(stack, run, source)
