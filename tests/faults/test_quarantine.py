"""Deleted workspaces on real parts: kill -9 of the worker at each boundary, the way back, and the end.

A boundary is held open by a lock of the test's on the row that the worker has to write next.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from relay_workers.host_files.anchors import HIDDEN
from tests.support.fault_stack import Stack
from tests.support.machine import engine
from tests.support.relay import step
from tests.support.trees import tree_hash

pytestmark = [pytest.mark.docker, pytest.mark.timeout(300)]

HOSTILE = """
cd /workspace/home && ln -s / root && ln -s loop loop && mkfifo fifo && echo mine >/workspace/tmp/file
cd /workspace/repos/* && echo new >new.txt && git add -A && git -c user.name=a -c user.email=a commit -qm work
echo dirty >>README.md && echo untracked >untracked && ln -s /etc/passwd passwd
cd /workspace/cache && for i in $(seq 200); do mkdir %s && cd %s || exit 9; done
""" % ("d" * 100, "d" * 100)  # noqa: UP031 - the shell's braces and dollars
AS_ROOT = "mkdir -p /workspace/home/of-root && echo x >/workspace/home/of-root/f && chmod 000 /workspace/home/of-root"


def in_use(stack: Stack, run: dict[str, Any]) -> Path:
    return stack.relay.data_dir / "workspaces" / run["workspace_id"]


def hash_of(stack: Stack, run: dict[str, Any]) -> str:
    """Of the directory in use, once a sweep has written its anchor."""
    anchor = in_use(stack, run) / HIDDEN / "workspace.json"
    stack.relay.until(anchor.exists, 60, "its anchor")
    return tree_hash(in_use(stack, run))


def kept(stack: Stack, run: dict[str, Any]) -> Path:
    return stack.relay.data_dir / "workspaces" / ".quarantine" / run["workspace_id"]


def row(stack: Stack, run: dict[str, Any]) -> Any:
    with stack.relay.database.connect() as connection:
        found = text("SELECT quarantine, deleted_at, container_ref, uid FROM workspaces WHERE id = :id")
        return connection.execute(found, {"id": run["workspace_id"]}).one()


def kinds(stack: Stack, run: dict[str, Any]) -> list[str]:
    items = stack.relay.get(f"/v1/workspaces/{run['workspace_id']}/events", limit=500)["items"]
    return [one["kind"] for one in items if one["kind"].startswith("workspace.")]


def ask(stack: Stack, run: dict[str, Any], act: str, **body: Any) -> None:
    answer = stack.relay.http.post(f"/v1/workspaces/{run['workspace_id']}/{act}", json=body or None)
    assert answer.status_code == 202, answer.text


@contextmanager
def held(stack: Stack, run: dict[str, Any]) -> Iterator[None]:
    """Hold the lane, which every transaction about the quarantine locks first."""
    with stack.relay.database.connect() as connection, connection.begin():
        locked = text("SELECT 1 FROM lanes WHERE workspace_id = :id FOR UPDATE")
        connection.execute(locked, {"id": run["workspace_id"]})
        yield


@pytest.mark.proves("T002-17")
def test_a_worker_that_is_killed_at_each_boundary_loses_no_file(stack: Stack):
    """Kept, restored, used again and removed for good, with `kill -9` between each move and its row."""
    relay = stack.relay
    run = relay.submit(stack.repo, HOSTILE)
    relay.wait_chain(run, 120)
    assert step(relay, run, run_reason="setup_script", script=AS_ROOT, as_root=True)["status"] == "completed"
    container = relay.container(run)
    container.stop(timeout=0)
    before, uid = hash_of(stack, run), row(stack, run).uid

    with held(stack, run):  # moved, and no row tells of it
        deleting = text("UPDATE workspaces SET deleted_at = now() WHERE id = :id")
        with relay.database.begin() as other:  # the lane is held, so the API would wait, too
            other.execute(deleting, {"id": run["workspace_id"]})
        relay.until(lambda: kept(stack, run).exists() and not in_use(stack, run).exists(), 90, "the move")
        relay.kill_9("worker")
    assert row(stack, run).quarantine is None
    relay.start("worker")
    relay.until(lambda: row(stack, run).quarantine == "kept", 60, "the row after the move")
    assert tree_hash(kept(stack, run)) == before
    assert row(stack, run).uid == uid
    label = f"relay.workspace_id={run['workspace_id']}"
    assert not engine().containers.list(all=True, filters={"label": label})

    relay.kill_9("worker")  # the row is written, and nothing moved
    ask(stack, run, "restore")
    assert kept(stack, run).exists()
    with held(stack, run):  # moved back, and no row tells of it
        relay.start("worker")
        relay.until(lambda: in_use(stack, run).exists(), 60, "the move back")
        relay.kill_9("worker")
    assert row(stack, run).quarantine == "restoring"
    relay.start("worker")
    relay.until(lambda: row(stack, run).deleted_at is None, 60, "the row after the move back")
    assert tree_hash(in_use(stack, run)) == before

    shown = relay.get(f"/v1/workspaces/{run['workspace_id']}")
    assert (shown["state"], shown["git_state"]) == ("stopped", "dirty")
    again = step(relay, run, run_reason="setup_script", script="cat new.txt /workspace/tmp/file; tail -n 1 README.md")
    assert (again["status"], relay.log(again["id"], "stdout")) == ("completed", b"new\nmine\ndirty\n")
    assert relay.container(run).id != container.id
    assert kinds(stack, run).count("workspace.restored") == 1

    path = f"/v1/workspaces/{run['workspace_id']}"
    generation = relay.http.post(f"{path}/purge/preview").json()["generation"]
    assert relay.http.delete(path).status_code == 202
    relay.until(lambda: row(stack, run).quarantine == "kept", 60, "its second quarantine")
    assert relay.http.post(f"{path}/purge", json={"generation": generation}).status_code == 409
    ask(stack, run, "purge", generation=relay.http.post(f"{path}/purge/preview").json()["generation"])
    relay.until(lambda: row(stack, run).quarantine != "kept", 60, "the row before the removal")
    relay.kill_9("worker")
    relay.start("worker")
    relay.until(lambda: row(stack, run).container_ref is None, 60, "its removal")
    assert not kept(stack, run).exists()
    assert not (relay.data_dir / "stores" / run["workspace_id"]).exists()
    assert kinds(stack, run)[-1] == "workspace.purged"


def test_a_project_with_several_workspaces_is_kept_and_comes_back(stack: Stack):
    relay = stack.relay
    runs = [relay.submit(stack.repo, f"echo {number} >answer") for number in range(3)]
    for run in runs:
        relay.wait_chain(run)
    before = {run["workspace_id"]: hash_of(stack, run) for run in runs}
    project = relay.get(f"/v1/tasks/{runs[0]['task_id']}")["project_id"]
    here = [one["id"] for one in relay.get("/v1/workspaces", project_id=project, limit=100)["items"]]
    assert relay.http.delete(f"/v1/projects/{project}").status_code == 202
    for run in runs:
        relay.until(lambda run=run: row(stack, run).quarantine == "kept", 90, "its quarantine")
        assert not in_use(stack, run).exists()
    mirrors = relay.get("/v1/mirrors", project_id=project)["items"]
    assert mirrors, "kept clones borrow their objects"
    back = relay.http.post(f"/v1/projects/{project}/restore").json()
    assert (
        {run["workspace_id"] for run in runs} <= set(back["workspaces"]) <= set(here)
    )  # others may have left no files
    for run in runs:
        relay.until(lambda run=run: row(stack, run).deleted_at is None, 90, "its way back")
        assert tree_hash(in_use(stack, run)) == before[run["workspace_id"]]
    again = step(relay, runs[0], run_reason="setup_script", script="cat answer")
    assert relay.log(again["id"], "stdout") == b"0\n"
