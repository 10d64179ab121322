"""A scripted stand-in for a model API: the prompt says, in directives (script.py), what the "model" does next.

Standard library only, so that `in_container.py` can run these modules in a container that has nothing but python3.
By hand: ``python3 -m tests.support.model_server.server --port 8088``.

Three layers: directives → `Script` → `Reply` know no protocol; a `Dialect` translates one (how a request is read, how a
reply is streamed); the HTTP handler knows neither.
"""

import argparse
import base64
import hashlib
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

from tests.support.model_server.anthropic import AnthropicMessages
from tests.support.model_server.dialect import Dialect
from tests.support.model_server.gemini import Gemini
from tests.support.model_server.openai import OpenAIChat, OpenAIResponses
from tests.support.model_server.script import Reply, Script

DIALECTS: dict[str, Dialect] = {
    "/v1/messages": AnthropicMessages(),
    "/v1/responses": OpenAIResponses(),
    "/v1/chat/completions": OpenAIChat(),
}

GEMINI = Gemini()


def find_dialect(path: str, body: dict[str, Any]) -> tuple[Dialect | None, dict[str, Any]]:
    """The dialect of a path, and the request with what Gemini has in the path and the others in the body."""
    asked = Gemini.PATH.fullmatch(path)
    if asked is None:
        return DIALECTS.get(path), body
    return GEMINI, {**body, "model": asked[1], "stream": asked[2] == "streamGenerateContent"}


def images_in(part: Any) -> list[str]:
    """The SHA-256 of each image of a request, in order, in whatever protocol it is."""
    if isinstance(part, list):
        return [found for each in part for found in images_in(each)]
    if not isinstance(part, dict):
        return []
    data = None
    kind = part.get("type")  # of a schema it can be an object
    if kind == "image":
        data = (part.get("source") or {}).get("data")
    elif kind in ("input_image", "image_url"):
        url = part.get("image_url")
        data = str(url.get("url") if isinstance(url, dict) else url).partition(";base64,")[2]
    elif isinstance(inline := part.get("inlineData"), dict):
        data = inline.get("data")
    own = [hashlib.sha256(base64.b64decode(data)).hexdigest()] if data else []
    return own + [found for each in part.values() for found in images_in(each)]


class Handler(BaseHTTPRequestHandler):
    """Answers model requests, and ``GET /_requests`` with what was asked so far."""

    protocol_version = "HTTP/1.1"
    server: "ModelServer"

    def do_GET(self) -> None:
        if self.path == "/_requests":
            self._json(200, list(self.server.requests))
        else:
            self._json(404, {"error": {"message": f"nothing at {self.path}"}})

    do_HEAD = do_GET  # noqa: N815

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers.get("Content-Length", 0))) or b"{}")
        path = self.path.partition("?")[0]
        dialect, body = find_dialect(path, body)
        if path.endswith(("/count_tokens", ":countTokens")):
            self._json(200, {"input_tokens": 11, "totalTokens": 11})
        elif dialect is None:
            self._json(404, {"error": {"message": f"nothing at {path}"}})
        else:
            self._answer(dialect, body)

    def _answer(self, dialect: Dialect, body: dict[str, Any]) -> None:
        conversation = dialect.conversation(body)
        reply = self.server.script.reply(conversation)
        entry = {"path": self.path, "model": conversation.model, "tools": len(conversation.tools)}
        heard = {"prompts": len(conversation.prompts), "prompt_bytes": sum(map(len, conversation.prompts[-1:]))}
        effort = body.get("reasoning_effort") or (body.get("reasoning") or body.get("output_config") or {}).get(
            "effort"
        )
        heard["effort"] = effort
        heard["images"] = images_in(body)
        self.server.requests.append({**entry, **heard, "results": conversation.results, "error": reply.error})
        if reply.error:
            self._json(reply.error, dialect.error(reply.error))
        elif body.get("stream") or reply.drop or reply.cut or reply.stall_seconds:
            self._stream(dialect.events(reply, conversation), reply)
        else:
            self._json(200, dialect.whole(reply, conversation))

    def _stream(self, events: Iterator[bytes], reply: Reply) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        try:
            self._chunk(next(events))
            if reply.drop and not reply.cut:
                self.close_connection = True
                return
            self.server.closing.wait(reply.stall_seconds)
            for event in events:
                self._chunk(event)
                if reply.waits and rb"\n\n" in event:
                    self.server.go.wait(120)
            if reply.drop:
                self.close_connection = True
                return
            self._chunk(b"")
        except ConnectionError:  # the agent was killed, or had enough
            self.close_connection = True

    def _chunk(self, content: bytes) -> None:
        self.wfile.write(b"%x\r\n%s\r\n" % (len(content), content))
        self.wfile.flush()

    def _json(self, status: int, content: Any) -> None:
        packed = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(packed)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(packed)

    def log_message(self, *_: Any) -> None:
        """Requests are kept in `ModelServer.requests`; a test's output stays clean."""


class ModelServer(ThreadingHTTPServer):
    """The server; a context manager that serves in a thread of its own. Port 0 picks a free one."""

    daemon_threads = True

    def __init__(self, host: str = "127.0.0.1", port: int = 0) -> None:
        self.script = Script()
        self.requests: list[dict[str, Any]] = []
        self.closing = threading.Event()
        self.go = threading.Event()
        """Set by a test: the answers that wait (`[[wait]]`) go on."""
        super().__init__((host, port), Handler)

    @property
    def url(self) -> str:
        """What the agent gets as its base URL."""
        return f"http://{self.server_address[0]!s}:{self.server_address[1]}"

    def __enter__(self) -> Self:
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.closing.set()
        self.go.set()
        self.shutdown()
        self.server_close()


def main() -> None:
    """Serve until killed; says where on the first line of stdout."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8088)
    given = parser.parse_args()
    server = ModelServer(given.host, given.port)
    print(f"listening on {server.url}", flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
