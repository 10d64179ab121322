"""Bounds of the API that need no server: what a body holds, how often trouble is told, how many streams are open."""

import asyncio
import json
import logging
import random
import subprocess
import sys
import time
from typing import Any

import pytest

from relay_api.http.body_limit import MOST_LARGER, BodyLimit, count_values
from relay_api.http.connections import AcceptTrouble, Seldom
from relay_api.http.problems import ApiError
from relay_api.streaming.open_streams import Streams


def _really(value: object) -> int:
    if isinstance(value, dict):
        return len(value) + sum(map(_really, value.values()))
    return len(value) + sum(map(_really, value)) if isinstance(value, list) else 0


def _some(chance: random.Random, depth: int) -> object:
    kind = chance.randrange(4) if depth else 3
    if kind == 0:
        return {f"k{n},{{": _some(chance, depth - 1) for n in range(chance.randrange(5))}
    if kind == 1:
        return [_some(chance, depth - 1) for _ in range(chance.randrange(5))]
    return chance.choice(["a,b", 'quote " and \\', "[[[{{{,,,", 1, None, "\\"])


def test_never_fewer_values_are_counted_than_there_are_and_text_is_none():
    chance = random.Random(1)
    for _ in range(300):
        value = _some(chance, 4)
        body = json.dumps(value).encode()
        assert _really(value) <= count_values(body) <= 2 * _really(value) + body.count(b"[") + body.count(b"{")
    assert count_values(json.dumps({"script": "a,b\n" * 100_000}).encode()) == 1


@pytest.mark.parametrize(
    "body",
    [
        b'"' + b'\\"' * 1_000_000 + b"\\",
        b'"' * 2_000_001,
        b'"' + b"\\" * 2_000_001,
        b"{" * 2_000_000,
        b'{"a":"' + b"x" * 2_000_000,
    ],
)
def test_counting_takes_linear_time_whatever_the_body(body: bytes):
    began = time.process_time()
    count_values(body)
    assert time.process_time() - began < 1


def test_the_same_trouble_is_told_once_a_minute_with_its_number():
    seldom = Seldom(seconds=0.05)
    assert [seldom.count() for _ in range(3)] == [1, 0, 0]
    time.sleep(0.06)
    assert seldom.count() == 3
    trouble = AcceptTrouble()
    line = logging.LogRecord("asyncio", logging.ERROR, "", 0, "socket.accept() out of system resource", None, None)
    other = logging.LogRecord("asyncio", logging.ERROR, "", 0, "something else", None, None)
    assert [trouble.filter(line) for _ in range(3)] == [True, False, False]
    assert trouble.filter(other)


def test_streams_are_bounded_for_one_and_for_all():
    streams = Streams(most=3, most_of_one=2)
    with streams.one("ann"), streams.one("ann"):
        with pytest.raises(ApiError, match="PER_TOKEN"), streams.one("ann"):
            pass
        with streams.one("bob"), pytest.raises(ApiError, match="RELAY_API_MAX_STREAMS "), streams.one("eve"):
            pass
        with streams.one("eve"):
            pass
    with streams.one("ann"), streams.one("ann"):
        assert streams._open.total() == 2


def test_the_limit_of_open_files_is_raised_as_far_as_it_goes():
    code = """
import resource
from relay_core.open_files import raise_open_files
resource.setrlimit(resource.RLIMIT_NOFILE, (256, 512))
print(raise_open_files(), resource.getrlimit(resource.RLIMIT_NOFILE))
print(raise_open_files())
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["512 (512, 512)", "512"]


async def _answers(limit: BodyLimit, method: str, size: int) -> int:
    """Send a body of ``size`` bytes; the status of the answer, 0 if the application got it."""
    status = [0]

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"x" * size, "more_body": False}

    async def send(message: Any) -> None:
        status[0] = message.get("status", status[0])

    headers = [(b"content-length", str(size).encode())]
    await limit({"type": "http", "method": method, "path": "/v1/images", "headers": headers}, receive, send)
    return status[0]


def test_larger_bodies_are_taken_by_one_method_only_and_few_at_once():
    async def main() -> None:
        over, inside = asyncio.Event(), asyncio.Queue[str]()

        async def app(scope: Any, receive: Any, send: Any) -> None:
            inside.put_nowait(scope["method"])
            await over.wait()

        limit = BodyLimit(app, 10, larger={("POST", "/v1/images"): 100})
        assert await _answers(limit, "PUT", 50) == 413
        tasks = [asyncio.create_task(_answers(limit, "POST", 50)) for _ in range(MOST_LARGER)]
        for _ in tasks:
            await inside.get()
        assert await _answers(limit, "POST", 50) == 503
        small = asyncio.create_task(_answers(limit, "POST", 10))
        over.set()
        assert await asyncio.gather(*tasks, small) == [0] * (MOST_LARGER + 1)
        assert await _answers(limit, "POST", 50) == 0

    asyncio.run(main())


def test_a_client_that_may_not_send_a_larger_body_is_told_before_a_byte_of_it_is_read():
    async def main() -> None:
        async def app(*_: Any) -> None:
            raise AssertionError

        async def admit(scope: Any) -> None:
            raise ApiError(401, "token_missing", scope["path"])

        async def receive() -> Any:
            raise AssertionError

        answers: list[Any] = []

        async def send(message: Any) -> None:
            answers.append(message)

        limit = BodyLimit(app, 10, larger={("POST", "/v1/images"): 100}, admit=admit)
        for headers in ([(b"content-length", b"50")], [(b"transfer-encoding", b"chunked")]):
            answers.clear()
            await limit({"type": "http", "method": "POST", "path": "/v1/images", "headers": headers}, receive, send)
            assert answers[0]["status"] == 401

    asyncio.run(main())


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-32"])
def test_values_are_counted_in_every_encoding_that_is_read(encoding):
    text = json.dumps({"\u2200": 0, **dict.fromkeys(map(str, range(5000)), 1)}, ensure_ascii=False)
    assert json.loads(text.encode(encoding)), "such a body is read"
    assert count_values(text.encode(encoding)) >= 5000
