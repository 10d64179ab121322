"""`relay logs --raw` as a process of its own: on a terminal, and into a pipe."""

import json
import os
import pty
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

ID = "0b8f8f4e-0000-0000-0000-000000000001"
EVIL = b"\x1b\x1b[2J[2Jcopied\x1b]52;c;aGk=\x07 \xc2\x9b2J\xe2\x80\xae \xff\x1b[32mgreen\x1b[0m\n"
SHOWN = re.compile(r"(?:[^\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]|\x1b\[[0-9;:]*m)*")


class Api(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        log = "/logs" in self.path
        body = EVIL if log else json.dumps({"id": ID, "executor": "codex", "logs": {}}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def environment() -> Iterator[dict[str, str]]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Api)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield {**os.environ, "RELAY_API_URL": f"http://127.0.0.1:{server.server_port}", "RELAY_TOKEN": "x"}
    server.shutdown()
    server.server_close()


ARGV = [sys.executable, "-m", "relay_cli.main", "logs", ID, "--raw"]


def test_a_pipe_gets_the_bytes(environment):
    assert subprocess.run(ARGV, env=environment, capture_output=True, check=True).stdout == EVIL


def test_a_terminal_gets_text_and_colours(environment):
    ours, theirs = pty.openpty()
    with subprocess.Popen(ARGV, env=environment, stdin=theirs, stdout=theirs, stderr=theirs) as process:
        os.close(theirs)
        shown = b""
        with suppress(OSError):  # EIO: the last process of the terminal has ended
            while piece := os.read(ours, 4096):
                shown += piece
        os.close(ours)
        assert process.wait() == 0
    text = shown.decode()
    assert SHOWN.fullmatch(text), shown
    assert "[2Jcopied" in text
    assert "<U+202E>" in text
    assert "\x1b[32mgreen" in text
