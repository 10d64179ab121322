"""A watcher whose API goes away: it waits, finds the stack's new port, and never passes its own failure for the run's."""

import base64
import json
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from socket import create_server

import pytest

from relay_cli import exit_codes, follow, log_stream, outage
from relay_cli.client import Api
from relay_cli.errors import CommandFailed
from relay_core.retry import Backoff
from relay_stack.errors import StackProblem
from relay_stack.files.stack_state import StackState, write_state
from relay_stack.services.ports import choose_port
from tests.support.run_json import RUN_ID, run_json, step_json

ID = "0b8f8f4e-0000-0000-0000-000000000001"
STEP = step_json(id=ID, run_id=RUN_ID, run_reason="setup_script", status="running", exit_code=None)


def event(number: int, words: bytes) -> bytes:
    data = json.dumps({"stream": "stdout", "b64": base64.b64encode(words).decode()})
    return f"id: {number}\ndata: {data}\n\n".encode()


END = b"event: end\ndata: {}\n\n"


class FakeApi(ThreadingHTTPServer):
    """Answers like the API as far as a watcher sees it; on a port of its own."""

    daemon_threads = True

    def __init__(self, stream: bytes, step: dict[str, object], *, whole: bool) -> None:
        super().__init__(("127.0.0.1", 0), Answers)
        self.stream, self.step, self.whole = stream, step, whole
        self.seen: list[str | None] = []
        threading.Thread(target=self.serve_forever, args=(0.01,), daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class Answers(BaseHTTPRequestHandler):
    server: FakeApi
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        if self.path.partition("?")[0].endswith("/stream"):
            self.server.seen.append(self.headers.get("Last-Event-ID"))
            shown = self.headers.get("Last-Event-ID") == "1" and self.server.stream.startswith(b"id: 1")
            self.answer(b"" if shown else self.server.stream, more=0 if self.server.whole else 1000)
        elif self.path.partition("?")[0].endswith("/executions"):
            self.answer(json.dumps({"items": [STEP], "next_cursor": None}).encode())
        elif self.path.startswith("/v1/runs/"):
            self.answer(json.dumps(run_json()).encode())
        else:
            self.answer(json.dumps(self.server.step).encode())

    def answer(self, body: bytes, more: int = 0) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(body) + more))
        self.end_headers()
        self.wfile.write(body)
        self.close_connection = True

    def log_message(self, *_: object) -> None:
        pass


class Kept:
    def __init__(self) -> None:
        self.data = b""

    def write(self, data: bytes) -> None:
        self.data += data


def state(url: str) -> StackState:
    return StackState(url, "token", "", "", "", (), 1, 0.0)


@pytest.fixture
def serve() -> Iterator[Callable[..., FakeApi]]:
    made: list[FakeApi] = []

    def start(stream: bytes, *, whole: bool, status: str = "completed") -> FakeApi:
        made.append(FakeApi(stream, {**STEP, "status": status}, whole=whole))
        return made[-1]

    yield start
    for one in made:
        one.shutdown()
        one.server_close()


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outage, "BACKOFF", Backoff(first_seconds=0.02, last_seconds=0.05))


def test_a_watcher_finds_the_stack_on_its_new_port(serve, tmp_path: Path, capsys):
    before, after = serve(event(1, b"one "), whole=False), serve(event(2, b"two") + END, whole=True)
    write_state(tmp_path, state(before.url))
    api, kept = Api(before.url, "token", stack_dir=tmp_path), Kept()

    def restart() -> None:
        while not before.seen:
            time.sleep(0.01)
        before.shutdown()
        before.server_close()
        write_state(tmp_path, state(after.url))

    threading.Thread(target=restart).start()
    ended = follow.follow_run(api, RUN_ID, follow.View({"stdout": kept, "stderr": kept}))

    assert kept.data == b"one two"
    assert after.seen == ["1"]
    assert exit_codes.of_run(ended) == 0
    told = capsys.readouterr().err
    assert "the API is away" in told  # once for each time that it answered before
    assert "the run goes on" in told


def test_one_that_gives_up_says_so_with_an_exit_code_of_its_own(serve, monkeypatch):
    monkeypatch.setattr(outage, "GIVE_UP_SECONDS", 0.1)
    api = serve(event(1, b"one"), whole=True)
    url = api.url
    api.shutdown()
    api.server_close()

    for watch in (
        lambda: log_stream.follow_log(Api(url, "token"), ID, {"stdout": Kept()}),
        lambda: follow.show_step(Api(url, "token"), {**STEP, "status": "queued"}, follow.View({"stdout": Kept()})),
        lambda: follow.follow_run(Api(url, "token"), ID, follow.View({"stdout": Kept()})),
    ):
        with pytest.raises(CommandFailed, match=f"the run goes on: relay logs -f {ID[:8]}$") as error:
            watch()
        assert error.value.exit_code == 75


def test_ports_stay_while_they_are_free():
    said: list[str] = []
    with create_server(("127.0.0.1", 0)) as taken, create_server(("127.0.0.1", 0)) as other:
        usual, last = taken.getsockname()[1], other.getsockname()[1]
        assert choose_port("P", usual, {}, said.append, {"P": str(last)}) not in {usual, last}
        assert len(said) == 1
    assert choose_port("P", usual, {}, said.append, {"P": str(last)}) == last
    assert choose_port("P", usual, {}, said.append, {}) == usual
    with create_server(("127.0.0.1", last)):
        assert choose_port("P", usual, {}, said.append, {"P": str(last)}) == usual
        with pytest.raises(StackProblem, match="P demands"):
            choose_port("P", usual, {"P": str(last)}, said.append)
