"""Log bytes and events over real HTTP: exact, in ranges, live, and taken up again after a break."""

import base64
import hashlib
import json
import random
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from itertools import islice
from typing import Any

import pytest
import redis

from relay_core.domain import execution as machine
from relay_core.domain.vocabulary import Reason
from relay_core.live_log.publisher import LiveLogPublisher
from relay_core.store.transaction import Database
from tests.support.api_fixtures import Api, Worker, api_on_a_port, problem_of, settings_for
from tests.support.waiting import eventually


@pytest.fixture
def api(database: Database, database_url: str, redis_url: str) -> Iterator[Api]:
    settings = settings_for(database_url, redis_url, api_sse_heartbeat_seconds=0.3)
    with api_on_a_port(database, settings) as api:
        yield api


@pytest.fixture
def worker(database: Database, database_url: str, redis_url: str) -> Iterator[Worker]:
    live = LiveLogPublisher(settings_for(database_url, redis_url))
    yield Worker(database, live)
    live.close()


@dataclass
class Frame:
    """A server-sent event."""

    event: str
    id: str | None
    data: Any


def frames(api: Api, path: str, who: str = "ann", **options: Any) -> Iterator[Frame]:
    """Those of one connection; comments are `comment` events."""
    headers = api.as_(who) | options.pop("headers", {})
    with api.client.stream("GET", path, headers=headers, **options) as answer:
        assert answer.status_code == 200
        assert answer.headers["content-type"].startswith("text/event-stream")
        fields: dict[str, str] = {}
        for line in answer.iter_lines():
            if line.startswith(":"):
                yield Frame("comment", None, line)
            elif line:
                name, _, value = line.partition(": ")
                fields[name] = value
            elif fields:
                yield Frame(fields.get("event", "message"), fields.get("id"), json.loads(fields["data"]))
                fields = {}


def finished(api: Api, worker: Worker, pieces: list[tuple[str, bytes]]) -> str:
    """An execution that has ended, with this log."""
    made = api.run()
    claimed = worker.claim(made["execution_id"])
    worker.log(claimed, pieces)
    end = machine.failed(Reason.EXIT_CODE, "it ended with 3", 3)
    worker.finish(claimed, end, log_ends=worker.log_ends(claimed))
    return made["execution_id"]


def mixed(seed: int, size: int) -> list[tuple[str, bytes]]:
    """Binary pieces on both streams."""
    chance = random.Random(seed)
    pieces = []
    while size > 0:
        pieces.append((chance.choice(["stdout", "stderr"]), chance.randbytes(min(size, chance.randint(1, 700_000)))))
        size -= len(pieces[-1][1])
    return pieces


def whole(pieces: list[tuple[str, bytes]], stream: str) -> bytes:
    return b"".join(data for name, data in pieces if stream in (name, "all"))


def test_bytes_are_exact_whole_and_in_ranges(api: Api, worker: Worker):
    pieces = mixed(1, 8 << 20)
    execution_id = finished(api, worker, pieces)
    path = f"/v1/executions/{execution_id}/logs"
    for stream in ("stdout", "stderr", "all"):
        expected = whole(pieces, stream)
        answer = api.get(path, params={"stream": stream})
        assert answer.content == expected
        assert int(answer.headers["content-length"]) == len(expected)
        assert answer.headers["etag"] == f'"{hashlib.sha256(expected).hexdigest()}"'
        joined, step = b"", 1_234_567
        while len(joined) < len(expected):
            wanted = f"bytes={len(joined)}-{len(joined) + step - 1}"
            part = api.get(path, params={"stream": stream}, headers={"Range": wanted})
            assert part.status_code == 206
            end = min(len(joined) + step, len(expected))
            assert part.headers["content-range"] == f"bytes {len(joined)}-{end - 1}/{len(expected)}"
            joined += part.content
        assert joined == expected


def test_headers_of_a_download(api: Api, worker: Worker):
    execution_id = finished(api, worker, [("stdout", b"0123456789")])
    path = f"/v1/executions/{execution_id}/logs"
    answer = api.get(path)
    assert answer.headers["content-type"] == "application/octet-stream"
    assert answer.headers["content-disposition"].startswith("attachment")
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["accept-ranges"] == "bytes"
    etag = answer.headers["etag"]
    assert api.get(path, headers={"Range": "bytes=2-3", "If-Range": etag}).content == b"23"
    assert api.get(path, headers={"Range": "bytes=2-3", "If-Range": '"other"'}).content == b"0123456789"
    assert api.get(path, headers={"Range": "bytes=0-1,4-5"}).status_code == 200
    beyond = api.get(path, headers={"Range": "bytes=10-"})
    assert problem_of(beyond)[:2] == (416, "range_not_satisfiable")
    assert beyond.headers["content-range"] == "bytes */10"
    head = api.client.head(path, headers=api.as_("ann") | {"Range": "bytes=2-3"})
    assert (head.status_code, head.content) == (200, b"")
    timeless = [{name: value for name, value in one.headers.items() if name != "date"} for one in (head, answer)]
    assert timeless[0] == timeless[1], "a range is for GET alone"
    assert api.client.head(path, headers=api.as_("bob")).status_code == 404
    assert api.get(path, params={"stream": "no"}).status_code == 422
    queued = api.get(f"/v1/executions/{api.run()['execution_id']}/logs")
    assert (queued.status_code, queued.content, "etag" in queued.headers) == (200, b"", False)


@pytest.mark.parametrize("stream", ["stdout", "stderr", "all"])
def test_a_stream_taken_up_ten_times_has_every_byte_once(api: Api, worker: Worker, stream: str):
    pieces = mixed(2, 4 << 20)
    execution_id = finished(api, worker, pieces)
    expected = whole(pieces, stream)
    received, last_id, breaks, ended = b"", None, 0, None
    while ended is None:
        headers = {"Last-Event-ID": last_id} if last_id else {}
        limit = len(received) + len(expected) // 10
        for frame in frames(
            api, f"/v1/executions/{execution_id}/logs/stream", params={"stream": stream}, headers=headers
        ):
            if frame.event == "end":
                ended = frame
                break
            if frame.event == "message":
                assert frame.data["offset"] == len(received)
                received += base64.b64decode(frame.data["b64"])
                last_id = frame.id
                assert int(last_id or 0) == len(received)
            if len(received) >= limit and breaks < 10:
                breaks += 1
                break
    assert received == expected
    assert breaks > 1
    assert (ended.data["status"], ended.data["reason"], ended.data["exit_code"]) == ("failed", "exit_code", 3)
    assert (ended.data["bytes"], ended.data["sha256"]) == (len(expected), hashlib.sha256(expected).hexdigest())


def test_all_says_where_each_piece_came_from(api: Api, worker: Worker):
    execution_id = finished(api, worker, [("stdout", b"one\n"), ("stderr", b"two\n"), ("stdout", b"three\n")])
    found: dict[str, bytes] = {"stdout": b"", "stderr": b""}
    for frame in frames(api, f"/v1/executions/{execution_id}/logs/stream"):
        if frame.event == "message":
            found[frame.data["stream"]] += base64.b64decode(frame.data["b64"])
    assert found == {"stdout": b"one\nthree\n", "stderr": b"two\n"}


def test_a_live_log_comes_as_it_is_stored_and_ends_with_the_run(api: Api, worker: Worker):
    made = api.run()
    claimed = worker.claim(made["execution_id"])
    worker.log(claimed, [("stdout", b"before")])
    seen: list[Frame] = []

    def text() -> bytes:
        return b"".join(base64.b64decode(frame.data["b64"]) for frame in seen if frame.event == "message")

    def follow() -> None:
        path = f"/v1/executions/{made['execution_id']}/logs/stream"
        for frame in frames(api, path, params={"stream": "stdout"}):
            seen.append(frame)  # noqa: PERF402 - one by one, as they come

    thread = threading.Thread(target=follow)
    thread.start()
    eventually(lambda: text() == b"before")
    eventually(lambda: sum(frame.event == "comment" for frame in seen) > 1)
    worker.log(claimed, [("stdout", b" after")])
    eventually(lambda: text() == b"before after")
    assert thread.is_alive()
    worker.finish(claimed, log_ends=worker.log_ends(claimed))
    thread.join(15)
    assert not thread.is_alive()
    assert (seen[-1].event, seen[-1].data["status"], seen[-1].id) == ("end", "completed", "12")


def test_a_run_that_never_started_has_an_end_too(api: Api):
    made = api.run()
    api.post(f"/v1/executions/{made['execution_id']}/kill")
    seen = list(frames(api, f"/v1/executions/{made['execution_id']}/logs/stream"))
    assert (seen[-1].event, seen[-1].data["status"], seen[-1].data["bytes"]) == ("end", "killed", 0)


def test_text_for_people_is_whole_across_pieces(api: Api, worker: Worker):
    execution_id = finished(api, worker, [("stdout", b"a\xe2\x82"), ("stdout", b"\xac\xff\xe2")])
    params = {"stream": "stdout", "view": "utf8"}
    seen = list(frames(api, f"/v1/executions/{execution_id}/logs/stream", params=params))
    text = "".join(frame.data["text"] for frame in seen if frame.event == "message")
    assert text == b"a\xe2\x82\xac\xff\xe2".decode("utf-8", "replace")
    first = next(frame for frame in seen if frame.event == "message")
    again = frames(
        api, f"/v1/executions/{execution_id}/logs/stream", params=params, headers={"Last-Event-ID": first.id or ""}
    )
    rest = "".join(frame.data["text"] for frame in again if frame.event == "message")
    assert first.data["text"] + rest == text


@pytest.mark.proves("T000-20")
def test_events_after_the_last_one_seen_come_once_and_in_order(api: Api, worker: Worker):
    made = api.run()
    path = f"/v1/workspaces/{made['workspace_id']}/events/stream"
    received: list[int] = []
    done = threading.Event()

    def follow() -> None:
        while not done.is_set():
            headers = {"Last-Event-ID": str(received[-1])} if received else {}
            for number, frame in enumerate(frames(api, path, headers=headers)):
                if frame.event == "message":
                    assert frame.id == str(frame.data["cursor"])
                    received.append(frame.data["cursor"])
                if done.is_set() or number >= 3:
                    break  # and come again

    thread = threading.Thread(target=follow)
    thread.start()
    for _ in range(4):
        step = api.post(
            f"/v1/workspaces/{made['workspace_id']}/executions", {"run_reason": "setup_script", "script": "x"}
        )
        api.post(f"/v1/executions/{step.json()['id']}/kill")
    expected = api.get(f"/v1/workspaces/{made['workspace_id']}/events").json()["next_after"]
    eventually(lambda: bool(received) and received[-1] == expected, seconds=15)
    done.set()
    thread.join(15)
    assert received == list(range(1, expected + 1))


@pytest.mark.proves("T002-07")
def test_what_redis_lost_comes_from_postgres_after_the_cursor(api: Api, worker: Worker, redis_url: str):
    """The messages of the end are lost: the queue's, and those of the live tail."""
    made = api.run()
    claimed = worker.claim(made["execution_id"])
    worker.log(claimed, [("stdout", b"seen\n")])
    path = f"/v1/workspaces/{made['workspace_id']}/events/stream"
    seen = (frame for frame in frames(api, path) if frame.event == "message")
    last = next(frame for frame in seen if frame.data["kind"] == "execution.started")

    deaf = Worker(api.database)  # tells Redis nothing
    deaf.log(claimed, [("stdout", b"and the rest\n")])
    deaf.finish(claimed, log_ends=deaf.log_ends(claimed))
    api.database.publisher.take()
    with closing(redis.Redis.from_url(redis_url)) as keys:
        keys.flushdb()

    log = f"/v1/executions/{made['execution_id']}/logs/stream"
    rest = list(frames(api, log, params={"stream": "stdout"}, headers={"Last-Event-ID": "5"}))
    text = b"".join(base64.b64decode(frame.data["b64"]) for frame in rest if frame.event == "message")
    assert (text, rest[-1].event, rest[-1].data["status"]) == (b"and the rest\n", "end", "completed")
    replayed = frames(api, path, headers={"Last-Event-ID": last.id or ""})
    first = next(frame for frame in replayed if frame.event == "message" and frame.data["operation_id"])
    told = (first.data["operation_id"], first.data["kind"], first.data["terminal"])
    assert told == (made["execution_id"], "execution.completed", True)


def test_events_of_all_workspaces_are_the_owners_own(api: Api):
    api.run(), api.run("bob")
    mine: list[Frame] = []
    for frame in frames(api, "/v1/events/stream"):
        if frame.event == "message" and frame.data["workspace_id"]:
            mine.append(frame)
        if len(mine) == 2:
            break
    assert len({frame.data["workspace_id"] for frame in mine}) == 1
    again = frames(api, "/v1/events/stream", headers={"Last-Event-ID": mine[0].id or ""})
    assert next(frame for frame in again if frame.event == "message").data == mine[1].data
    everything = (frame for frame in frames(api, "/v1/events/stream", "admin") if frame.event == "message")
    of_workspaces = (frame for frame in everything if frame.data["workspace_id"])
    assert len({frame.data["workspace_id"] for frame in islice(of_workspaces, 4)}) == 2


def test_a_stream_of_all_workspaces_can_begin_now(api: Api):
    api.run()
    first = next(frame for frame in frames(api, "/v1/events/stream") if frame.event == "message")
    assert api.get("/v1/events?after=now").json()["items"] == [], "all of them are readable since the first is"
    here = api.get("/v1/events?after=now").json()["next_after"]
    stream = frames(api, "/v1/events/stream", params={"after": "now"})
    assert next(stream).event == "comment"
    made = api.run()
    found = next(frame for frame in stream if frame.event == "message")
    assert found.data["workspace_id"] == made["workspace_id"] != first.data["workspace_id"]
    later = api.get("/v1/events", params={"after": here}).json()["items"]
    assert later[0]["workspace_id"] == made["workspace_id"]


def test_a_hundred_followers_get_every_byte(api: Api, worker: Worker):
    made = api.run()
    claimed = worker.claim(made["execution_id"])
    begun = threading.Semaphore(0)

    def follow(_: int) -> bytes:
        data = b""
        for frame in frames(api, f"/v1/executions/{made['execution_id']}/logs/stream", params={"stream": "stdout"}):
            if frame.event == "comment" and not data:
                begun.release()
            if frame.event == "message":
                data += base64.b64decode(frame.data["b64"])
        return data

    with ThreadPoolExecutor(100) as pool:
        results = [pool.submit(follow, number) for number in range(100)]
        for _ in range(100):
            assert begun.acquire(timeout=30)
        for number in range(20):
            worker.log(claimed, [("stdout", b"line %d\n" % number)])
            time.sleep(0.02)
        worker.finish(claimed, log_ends=worker.log_ends(claimed))
        expected = worker.read(claimed.execution_id, "stdout")
        assert {result.result(30) for result in results} == {expected}


def test_a_stream_is_ended_in_time_without_an_end_event(database: Database, database_url: str, redis_url: str):
    with api_on_a_port(database, settings_for(database_url, redis_url, api_sse_max_seconds=0.3)) as api:
        made = api.run()
        seen = list(frames(api, f"/v1/executions/{made['execution_id']}/logs/stream"))
        assert {frame.event for frame in seen} == {"comment"}
