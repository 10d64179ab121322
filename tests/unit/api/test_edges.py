"""Small pure parts of the API."""

import asyncio
import json
from datetime import UTC, datetime
from uuid import uuid4

import pytest

from relay_api.http.field_errors import field_errors
from relay_api.http.middleware import host_name
from relay_api.streaming import sse
from relay_core.domain.errors import InvalidInput
from relay_core.domain.working_dir import normal_working_dir
from relay_core.store.views.paging import Position, decode, encode


@pytest.mark.parametrize(
    ("host", "name"),
    [("a:1", "a"), ("A.", "a"), ("[::1]:80", "[::1]"), ("[::1]", "[::1]"), ("", ""), ("a.b:80:90", "a.b")],
)
def test_the_name_of_a_host(host: str, name: str):
    assert host_name(host) == name


def test_a_cursor_comes_back():
    position = Position(datetime.now(UTC), uuid4())
    assert decode(encode(position)) == position


@pytest.mark.parametrize(
    "cursor",
    [
        "",
        "AAAA",
        "!!",
        "a" * 199,
        "MXwx",
        pytest.param(encode(Position(datetime.now(UTC), uuid4()))[:-3], id="cut off"),
    ],
)
def test_another_word_is_no_cursor(cursor: str):
    with pytest.raises(InvalidInput) as error:
        decode(cursor)
    assert error.value.code == "cursor_invalid"


@pytest.mark.parametrize("path", ["..", "/", "/etc", "a/..", "../a", "a/../b", "./.."])
def test_no_way_out_of_the_repository(path: str):
    with pytest.raises(InvalidInput, match=r"without '\.\.'") as error:
        normal_working_dir(path, "repos.0.working_dir")
    assert error.value.field == "repos.0.working_dir"


@pytest.mark.parametrize(
    ("path", "kept"),
    [
        ("", None),
        (".", None),
        ("./", None),
        ("svc/api/", "svc/api"),
        ("./svc", "svc"),
        ("a/./b//c", "a/b/c"),
        ("..a", "..a"),
    ],
)
def test_a_working_dir_is_kept_in_one_spelling(path: str, kept: str | None):
    assert normal_working_dir(path, "") == kept


def test_fields_are_named_and_values_are_not():
    [error] = field_errors([{"loc": ("body", "env", "A"), "msg": "wrong", "type": "t", "input": "sesame"}])
    assert error == ("env.A", "wrong", "t")
    [whole] = field_errors([{"loc": ("body",), "msg": "m", "type": "t"}])
    assert whole.field == "body"


def test_a_frame_is_one_line_of_data():
    frame = sse.frame({"text": "a\nb\r\u2028"}, event="end", last_id="7").decode()
    assert frame.startswith("id: 7\nevent: end\ndata: {")
    assert frame.count("\n") == 4
    assert json.loads(frame.split("data: ")[1]) == {"text": "a\nb\r\u2028"}


def test_silence_is_filled_and_time_is_bounded():
    closed = []

    async def frames():
        try:
            yield b"one"
            await asyncio.Event().wait()
        finally:
            closed.append(True)

    async def read() -> list[bytes]:
        return [chunk async for chunk in sse.with_heartbeats(frames(), 0.02, 0.1)]

    chunks = asyncio.run(read())
    assert chunks[:3] == [sse.HEARTBEAT, b"one", sse.HEARTBEAT]
    assert closed == [True]


def test_an_error_of_the_source_ends_the_stream():
    async def frames():
        yield b"one"
        raise RuntimeError

    async def read() -> None:
        async for _ in sse.with_heartbeats(frames(), 1, 1):
            pass

    with pytest.raises(RuntimeError):
        asyncio.run(read())
