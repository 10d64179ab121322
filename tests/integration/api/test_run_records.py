"""Executions, events and logs of a run over real HTTP: stored, and followed until the run is completed."""

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from relay_core.domain import execution as machine
from relay_core.domain.vocabulary import Reason
from relay_core.live_log.publisher import LiveLogPublisher
from relay_core.store.transaction import Database
from tests.support.api_fixtures import RUN, Api, Worker, api_on_a_port, problem_of, settings_for

REPO = {**RUN["repos"][0], "setup_script": "make"}
STEPS = {"clone": b"Cloning\n", "setup_script": b"no newline at the end", "coding_agent": b"done\n"}
MARKED = b"--- clone\nCloning\n--- setup_script app\nno newline at the end\n--- coding_agent\ndone\n"


@pytest.fixture
def api(database: Database, database_url: str, redis_url: str) -> Iterator[Api]:
    with api_on_a_port(database, settings_for(database_url, redis_url)) as api:
        yield api


@pytest.fixture
def worker(database: Database, database_url: str, redis_url: str) -> Iterator[Worker]:
    live = LiveLogPublisher(settings_for(database_url, redis_url))
    yield Worker(database, live)
    live.close()


def step(api: Api, worker: Worker, run: dict[str, Any], end: machine.Transition | None = None) -> bytes:
    """Carry out the present step of a run with its log, and return the log."""
    worker.ready(run["workspace_id"])
    current = api.get(f"/v1/runs/{run['run_id']}").json()["current_step"]
    claimed = worker.claim(current["execution_id"])
    output = STEPS[current["run_reason"]]
    worker.log(claimed, [("stdout", output)])
    worker.finish(claimed, end, log_ends=worker.log_ends(claimed))
    return output


def test_the_log_of_a_run_has_all_steps_after_their_markers(api: Api, worker: Worker) -> None:
    run = api.run(repos=[REPO])
    output = b"".join(step(api, worker, run) for _ in STEPS)
    path = f"/v1/runs/{run['run_id']}/logs"
    assert api.get(path).content == MARKED
    assert api.get(f"{path}?markers=0").content == output
    assert api.get(f"{path}?follow=1").content == MARKED
    assert problem_of(api.get(path, "bob"))[0] == 404


def test_a_followed_log_ends_with_the_run_and_has_every_byte_once(api: Api, worker: Worker) -> None:
    run = api.run(repos=[REPO])
    with api.client.stream("GET", f"/v1/runs/{run['run_id']}/logs?follow=1", headers=api.as_("ann")) as answer:
        parts = answer.iter_bytes()
        seen = next(parts)
        for _ in STEPS:
            step(api, worker, run)
        seen += b"".join(parts)
    assert seen == MARKED


def test_scripts_that_run_at_the_same_time_are_followed_side_by_side(api: Api, worker: Worker) -> None:
    beside = {"setup_script": "make", "parallel_setup_script": True}
    repos = [{"url": f"https://git.example.org/team/{name}.git", **beside} for name in ("app", "library")]
    run = api.run(repos=repos)
    path = f"/v1/runs/{run['run_id']}/logs"
    with api.client.stream("GET", f"{path}?follow=1", headers=api.as_("ann")) as answer:
        parts = answer.iter_bytes()
        seen = b""

        def until(words: bytes) -> bytes:
            nonlocal seen
            while words not in seen:
                seen += next(parts)
            return seen

        step(api, worker, run)
        until(b"--- setup_script app, setup_script library\n")
        steps = api.get(f"/v1/runs/{run['run_id']}/executions").json()["items"][1:]
        assert len({one["group_id"] for one in steps}) == 1
        app, library = (worker.claim(one["id"]) for one in steps)
        worker.log(app, [("stdout", b"one\ntw")])
        until(b"app     | one\n")
        worker.log(library, [("stderr", b"eins\n")])
        until(b"library | eins\n")
        worker.log(app, [("stdout", b"o\nthree")])
        until(b"app     | two\n")
        for claimed in (app, library):
            worker.finish(claimed, log_ends=worker.log_ends(claimed))
        step(api, worker, run)
        seen += b"".join(parts)
    lines = b"app     | one\nlibrary | eins\napp     | two\napp     | three\n"
    head = b"--- clone\nCloning\n--- setup_script app, setup_script library\n"
    assert seen == head + lines + b"--- coding_agent\ndone\n"
    assert api.get(f"{path}?follow=1&markers=0").content == b"Cloning\none\ntwo\nthreeeins\ndone\n", "the exact bytes"
    assert api.get(f"{path}?follow=1").content == api.get(path).content, "an ended run has one step after the other"


def test_the_followed_log_of_an_execution_is_plain_bytes(api: Api, worker: Worker) -> None:
    run = api.run()
    claimed = worker.claim(run["execution_id"])
    worker.log(claimed, [("stdout", b"one\n")])
    path = f"/v1/executions/{run['execution_id']}/logs?follow=1"
    quiet = api.run()
    assert api.client.head(f"/v1/runs/{quiet['run_id']}/logs?follow=1", headers=api.as_("ann")).status_code == 200
    with api.client.stream("GET", path, headers=api.as_("ann")) as answer:
        parts = answer.iter_bytes()
        assert next(parts) == b"one\n"
        worker.log(claimed, [("stderr", b"two\n"), ("stdout", b"\xff\0")])
        worker.finish(claimed, log_ends=worker.log_ends(claimed))
        assert b"".join(parts) == b"two\n\xff\0"


def test_a_run_has_its_own_executions_and_events(api: Api, worker: Worker) -> None:
    run = api.run(repos=[REPO])
    for _ in STEPS:
        step(api, worker, run)
    other = api.post(
        f"/v1/workspaces/{run['workspace_id']}/executions", {"run_reason": "cleanup_script", "script": "true"}
    ).json()
    base = f"/v1/runs/{run['run_id']}"
    executions = api.get(f"{base}/executions").json()["items"]
    assert [one["run_reason"] for one in executions] == list(STEPS)
    events = api.get(f"{base}/events").json()
    assert {one["operation_id"] for one in events["items"]} == {one["id"] for one in executions}
    assert [one["kind"] for one in events["items"] if one["terminal"]] == ["execution.completed"] * 3
    first = api.get(f"{base}/events?limit=2").json()
    rest = api.get(f"{base}/events?after={first['next_after']}").json()
    assert first["items"] + rest["items"] == events["items"]
    assert api.get(f"{base}/events?after={rest['next_after']}").json()["items"] == []
    assert [one["operation_id"] for one in api.get(f"/v1/runs/{other['run_id']}/events").json()["items"]] == [
        other["id"]
    ]


def test_a_followed_run_ends_with_how_it_ended(api: Api, worker: Worker) -> None:
    run = api.run()
    ended: dict[str, Any] = {}
    kinds: list[str] = []
    with api.client.stream("GET", f"/v1/runs/{run['run_id']}/events/stream", headers=api.as_("ann")) as answer:
        lines = answer.iter_lines()
        assert next(lines).startswith(":")
        step(api, worker, run, machine.failed(Reason.TIMEOUT, "too late"))
        name = ""
        for line in lines:
            if line.startswith("event: "):
                name = line.removeprefix("event: ")
            if line.startswith("data: "):
                data = json.loads(line.removeprefix("data: "))
                if name == "end":
                    ended = data
                else:
                    kinds.append(data["kind"])
    assert kinds == ["execution.queued", "execution.started", "execution.failed"]
    assert ended == {
        "id": run["run_id"],
        "status": "completed",
        "conclusion": "timed_out",
        "reason": "timeout",
        "message": "too late",
        "exit_code": None,
    }


@pytest.mark.proves("T004-20")
def test_two_changes_of_a_run_at_once_both_stay(api: Api):
    """Each names other keys; a merge under the lock of the row keeps those of the other one."""
    path = f"/v1/runs/{api.run()['run_id']}"
    for number in range(5):
        changes = [{"metadata": {"a": number}}, {"metadata": {"b": number}}, {"labels": {"x": str(number)}}]
        with ThreadPoolExecutor(3) as pool:
            answers = list(pool.map(lambda change: api.patch(path, change), changes))
        assert {answer.status_code for answer in answers} == {200}
        found = api.get(path).json()
        assert (found["metadata"], found["labels"]) == ({"a": number, "b": number}, {"x": str(number)})
