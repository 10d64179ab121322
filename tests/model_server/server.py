"""A scripted stand-in for a model API: the prompt says, in directives, what the "model" does next.

One file, standard library only: it also runs where there is nothing but python3 (``python3 server.py --port 8088``, or
``python3 -c "$(cat server.py)" --port 8088`` inside a container without a network).

Directives stand anywhere in a prompt and are obeyed in their order; one tool call is one turn of the model:

=========================  =============================================================================
``[[run: shell command]]``  calls the agent's shell tool (the command must not contain ``]]``)
``[[tool: Name {json}]]``   calls any tool with these arguments
``[[say: text]]``           says it, with the next tool call or as the final answer
``[[flood: N]]``            says N bytes of lines that all differ
``[[error: 400]]``          answers the HTTP status instead; ``[[error: 500 x2]]`` that often, then goes on
``[[drop]]``                breaks the connection off in mid-answer; ``[[drop: x3]]`` that often, then goes on
``[[stall: 60]]``           begins an answer, then is silent for that many seconds
=========================  =============================================================================

A prompt that says nothing is answered ``DONE history=N result=…``: the prompts the conversation holds, and the first
line of the last tool result. Nothing is remembered between requests but how often the faults of a prompt were given, so a
conversation that is resumed, or replayed from a file, gets the same answers.

Three layers, so that other APIs can stand beside the first: directives → `Script` → `Reply` know no protocol; a
`Dialect` translates one (what a request says, how a reply is streamed); the HTTP handler knows neither.
"""

import argparse
import json
import re
import threading
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar, Self

DIRECTIVE = re.compile(r"\[\[(run|tool|say|flood|error|drop|stall)(?::\s*(.*?))?\s*\]\]", re.DOTALL)
TIMES = re.compile(r"\s*x(\d+)$")


# ---- what the "model" does: no protocol in here -------------------------------------------------------------------


@dataclass(frozen=True)
class Conversation:
    """What a request says, whatever the protocol."""

    prompts: tuple[str, ...]
    """Everything a user (not a tool) said, in order."""
    results: tuple[str, ...]
    """Tool results since the last prompt."""
    tools: frozenset[str]
    """Tools on offer; empty in an agent's side requests (titles, summaries)."""
    model: str = "scripted"


@dataclass(frozen=True)
class ToolCall:
    """A call of one of the agent's tools; without a name, of its shell."""

    name: str | None
    arguments: dict[str, Any]


@dataclass(frozen=True)
class Reply:
    """One turn of the model: what it says, then perhaps a tool call; and what goes wrong on the way."""

    text: str = ""
    call: ToolCall | None = None
    call_id: str = ""
    error: int | None = None
    drop: bool = False
    stall_seconds: float = 0


@dataclass
class Script:
    """Turns a conversation into replies; remembers only how often a fault was given."""

    faults: Counter[tuple[str, int]] = field(default_factory=Counter)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def reply(self, conversation: Conversation) -> Reply:
        """The next turn of this conversation."""
        prompt = conversation.prompts[-1] if conversation.prompts else ""
        turns = _turns(DIRECTIVE.findall(prompt))
        done = len(conversation.results)
        if not conversation.tools:
            return Reply(text="A side request")
        steps = turns[done] if done < len(turns) else []
        said: list[str] = []
        stall = 0.0
        for index, (word, argument) in enumerate(steps):
            if word in {"error", "drop"}:
                if self._due(prompt, done * 1000 + index, argument):
                    return Reply(error=int(TIMES.sub("", argument))) if word == "error" else Reply(drop=True)
            elif word == "stall":
                stall += float(argument)
            elif word in {"say", "flood"}:
                said.append(argument if word == "say" else _flood(int(argument)))
            else:
                return Reply("\n".join(said), _call(word, argument), _call_id(conversation), stall_seconds=stall)
        return Reply("\n".join(said) or _summary(conversation), stall_seconds=stall)

    def _due(self, prompt: str, step: int, argument: str) -> bool:
        times = TIMES.search(argument) or re.fullmatch(r"x(\d+)", argument)
        if times is None:
            return True
        with self.lock:
            self.faults[prompt, step] += 1
            return self.faults[prompt, step] <= int(times[1])


def _turns(steps: list[tuple[str, str]]) -> list[list[tuple[str, str]]]:
    """Cut after each tool call: one list for each turn of the model."""
    turns: list[list[tuple[str, str]]] = [[]]
    for step in steps:
        turns[-1].append(step)
        if step[0] in {"run", "tool"}:
            turns.append([])
    return turns


def _call(word: str, argument: str) -> ToolCall:
    if word == "run":
        return ToolCall(None, {"command": argument})
    name, _, arguments = argument.partition(" ")
    return ToolCall(name, json.loads(arguments or "{}"))


def _call_id(conversation: Conversation) -> str:
    return f"call_{len(conversation.prompts)}_{len(conversation.results)}"


def _flood(size: int) -> str:
    lines = "".join(f"{number:011d}\n" for number in range(size // 12 + 1))
    return lines[:size]


def _summary(conversation: Conversation) -> str:
    last = (conversation.results or ("none",))[-1].strip().splitlines() or ["empty"]
    return f"DONE history={len(conversation.prompts)} result={last[0]}"


# ---- one protocol: Anthropic Messages ------------------------------------------------------------------------------


class Dialect:
    """How one API says it. Add another by a subclass and an entry in `DIALECTS`."""

    def conversation(self, body: dict[str, Any]) -> Conversation:
        """What the request says."""
        raise NotImplementedError

    def events(self, reply: Reply, conversation: Conversation) -> Iterator[bytes]:
        """The reply as a stream of server-sent events; the first is the one a dropped connection still gives."""
        raise NotImplementedError

    def whole(self, reply: Reply, conversation: Conversation) -> dict[str, Any]:
        """The reply to a request that did not ask for a stream."""
        raise NotImplementedError

    def error(self, status: int) -> dict[str, Any]:
        """The body of an error answer."""
        raise NotImplementedError


class AnthropicMessages(Dialect):
    """POST /v1/messages (platform.claude.com/docs: Messages, streaming, errors)."""

    SHELL: ClassVar = "Bash"
    ERRORS: ClassVar = {
        400: "invalid_request_error",
        401: "authentication_error",
        403: "permission_error",
        404: "not_found_error",
        429: "rate_limit_error",
        529: "overloaded_error",
    }

    def conversation(self, body: dict[str, Any]) -> Conversation:
        prompts: list[str] = []
        results: list[str] = []
        for message in body.get("messages", []):
            if message.get("role") != "user":
                continue
            content = message["content"]
            blocks = [{"type": "text", "text": content}] if isinstance(content, str) else content
            found = [_plain(block.get("content")) for block in blocks if block["type"] == "tool_result"]
            spoken = _spoken(blocks)
            if found:
                results += found
            elif spoken:
                prompts += spoken
                results = []
        tools = frozenset(tool["name"] for tool in body.get("tools", []))
        return Conversation(tuple(prompts), tuple(results), tools, str(body.get("model", "scripted")))

    def events(self, reply: Reply, conversation: Conversation) -> Iterator[bytes]:
        message = {**self.whole(reply, conversation), "content": [], "stop_reason": None}
        yield _sse({"type": "message_start", "message": message})
        blocks = self._content(reply)
        for index, block in enumerate(blocks):
            empty = {**block, "text": ""} if block["type"] == "text" else {**block, "input": {}}
            yield _sse({"type": "content_block_start", "index": index, "content_block": empty})
            for delta in self._deltas(block):
                yield _sse({"type": "content_block_delta", "index": index, "delta": delta})
            yield _sse({"type": "content_block_stop", "index": index})
        stop = {"stop_reason": "tool_use" if reply.call else "end_turn", "stop_sequence": None}
        yield _sse({"type": "message_delta", "delta": stop, "usage": {"output_tokens": 7}})
        yield _sse({"type": "message_stop"})

    def whole(self, reply: Reply, conversation: Conversation) -> dict[str, Any]:
        return {
            "id": f"msg_{len(conversation.prompts)}_{len(conversation.results)}",
            "type": "message",
            "role": "assistant",
            "model": conversation.model,
            "content": self._content(reply),
            "stop_reason": "tool_use" if reply.call else "end_turn",
            "stop_sequence": None,
            "usage": {"input_tokens": 11, "output_tokens": 7},
        }

    def error(self, status: int) -> dict[str, Any]:
        kind = self.ERRORS.get(status, "api_error")
        return {"type": "error", "error": {"type": kind, "message": f"scripted error {status}"}}

    def _content(self, reply: Reply) -> list[dict[str, Any]]:
        blocks: list[dict[str, Any]] = [{"type": "text", "text": reply.text}] if reply.text else []
        if reply.call:
            name, arguments = reply.call.name or self.SHELL, reply.call.arguments
            blocks.append({"type": "tool_use", "id": f"toolu_{reply.call_id}", "name": name, "input": arguments})
        return blocks

    def _deltas(self, block: dict[str, Any]) -> Iterator[dict[str, Any]]:
        if block["type"] == "tool_use":
            yield {"type": "input_json_delta", "partial_json": json.dumps(block["input"])}
            return
        for start in range(0, len(block["text"]), 1000):
            yield {"type": "text_delta", "text": block["text"][start : start + 1000]}


def _spoken(blocks: list[dict[str, Any]]) -> list[str]:
    """What the user wrote, a block for each prompt; an agent's own reminders are not his words.

    An agent drops a turn that failed, and then sends the prompts before and after it as blocks of one message.
    """
    texts = [block["text"] for block in blocks if block["type"] == "text"]
    return [text for text in texts if text.strip() and not text.lstrip().startswith("<system-reminder>")]


def _plain(content: Any) -> str:
    if isinstance(content, list):
        return "\n".join(block.get("text", "") for block in content)
    return str(content or "")


def _sse(event: dict[str, Any]) -> bytes:
    return f"event: {event['type']}\ndata: {json.dumps(event)}\n\n".encode()


DIALECTS: dict[str, Dialect] = {"/v1/messages": AnthropicMessages()}


# ---- HTTP --------------------------------------------------------------------------------------------------------


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
        dialect = DIALECTS.get(path)
        if path.endswith("/count_tokens"):
            self._json(200, {"input_tokens": 11})
        elif dialect is None:
            self._json(404, {"error": {"message": f"nothing at {path}"}})
        else:
            self._answer(dialect, body)

    def _answer(self, dialect: Dialect, body: dict[str, Any]) -> None:
        conversation = dialect.conversation(body)
        reply = self.server.script.reply(conversation)
        entry = {"path": self.path, "model": conversation.model, "tools": len(conversation.tools)}
        heard = {"prompts": len(conversation.prompts), "prompt_bytes": sum(map(len, conversation.prompts[-1:]))}
        self.server.requests.append({**entry, **heard, "results": conversation.results, "error": reply.error})
        if reply.error:
            self._json(reply.error, dialect.error(reply.error))
        elif body.get("stream") or reply.drop or reply.stall_seconds:
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
            if reply.drop:
                self.close_connection = True
                return
            self.server.closing.wait(reply.stall_seconds)
            for event in events:
                self._chunk(event)
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
