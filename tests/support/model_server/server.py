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
``[[cut]]``                 says what stands before it and breaks off in mid-answer; ``[[cut: x3]]`` that often
``[[half]]``                likewise, but the answer ends in order: it only lacks its last events
``[[stop: max_tokens]]``    ends the answer for that reason, as Anthropic names it (``max_tokens``, ``refusal``)
``[[usage: cached=9]]``     what each answer to this prompt took: input, cached, output, reasoning (11, 0, 7, 0)
=========================  =============================================================================

Tool arguments spell directives with braces (``{{run: …}}``): for the prompt of a subagent.
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
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar, Self

DIRECTIVE = re.compile(r"\[\[(run|tool|say|flood|error|drop|stall|cut|half|stop|usage)(?::\s*(.*?))?\s*\]\]", re.DOTALL)
TIMES = re.compile(r"\s*x(\d+)$")
REMINDER = re.compile(r"\s*(# AGENTS\.md |<([A-Za-z_-]+)[ >].*</\2>\s*$)", re.DOTALL)
"""Words that an agent puts among the user's."""
SHELLS = ("Bash", "bash", "exec_command", "shell_command", "shell", "run_shell_command")
"""Names that agents give to their shell tool; the first that is on offer is called."""
FILLERS = {"string": "a step", "boolean": False, "integer": 0, "number": 0, "array": [], "object": {}}
"""What stands for an argument that a tool requires and nobody cares about."""


# ---- what the "model" does: no protocol in here -------------------------------------------------------------------


@dataclass(frozen=True)
class Conversation:
    """What a request says, whatever the protocol."""

    prompts: tuple[str, ...]
    """Everything a user (not a tool) said, in order."""
    results: tuple[str, ...]
    """Tool results since the last prompt."""
    tools: Mapping[str, Mapping[str, Any]]
    """Tools on offer, each with the JSON schema of its arguments."""
    model: str = "scripted"
    side: bool = False
    """An agent's request for a title, a summary, …: nothing that the user asked for."""
    schema: Mapping[str, Any] | None = None
    """Of the JSON that a side request wants for an answer."""


@dataclass(frozen=True)
class ToolCall:
    """A call of one of the agent's tools."""

    name: str
    arguments: dict[str, Any]


@dataclass(frozen=True)
class Usage:
    """Tokens of one answer, none of them counted twice."""

    input: int = 11
    cached: int = 0
    output: int = 7
    reasoning: int = 0


@dataclass(frozen=True)
class Reply:
    """One turn of the model: what it says, then perhaps a tool call; and what goes wrong on the way."""

    text: str = ""
    call: ToolCall | None = None
    call_id: str = ""
    error: int | None = None
    drop: bool = False
    cut: bool = False
    """Ends after the text, without what makes it whole; with `drop`, the connection breaks off there."""
    stall_seconds: float = 0
    stop: str | None = None
    """Why it ended, as Anthropic names it; None: by itself."""
    usage: Usage = Usage()


@dataclass
class Script:
    """Turns a conversation into replies; remembers only how often a fault was given."""

    faults: Counter[tuple[str, int]] = field(default_factory=Counter)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def reply(self, conversation: Conversation) -> Reply:
        """The next turn of this conversation."""
        prompt = conversation.prompts[-1] if conversation.prompts else ""
        found = DIRECTIVE.findall(prompt)
        usage = _usage(" ".join(argument for word, argument in found if word == "usage"))
        return replace(
            self._reply(conversation, prompt, _turns([each for each in found if each[0] != "usage"])), usage=usage
        )

    def _reply(self, conversation: Conversation, prompt: str, turns: list[list[tuple[str, str]]]) -> Reply:
        done = len(conversation.results)
        if conversation.side:
            return Reply("A side request" if conversation.schema is None else json.dumps(_filled(conversation.schema)))
        steps = turns[done] if done < len(turns) else []
        said: list[str] = []
        stall = 0.0
        for index, (word, argument) in enumerate(steps):
            if word in {"error", "drop"}:
                if self._due(prompt, done * 1000 + index, argument):
                    return Reply(error=int(TIMES.sub("", argument))) if word == "error" else Reply(drop=True)
            elif word in {"cut", "half"}:
                if self._due(prompt, done * 1000 + index, argument):
                    return Reply("\n".join(said), cut=True, drop=word == "cut")
                said.clear()
            elif word == "stall":
                stall += float(argument)
            elif word == "stop":
                return Reply("\n".join(said), stop=argument, stall_seconds=stall)
            elif word in {"say", "flood"}:
                said.append(argument if word == "say" else _flood(int(argument)))
            else:
                call = _call(word, argument, conversation.tools)
                return Reply("\n".join(said), call, _call_id(conversation), stall_seconds=stall)
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


def _call(word: str, argument: str, tools: Mapping[str, Mapping[str, Any]]) -> ToolCall:
    if word == "run":
        return _shell_call(argument, tools)
    name, _, arguments = argument.partition(" ")
    return ToolCall(name, json.loads(arguments.replace("{{", "[[").replace("}}", "]]") or "{}"))


def _usage(given: str) -> Usage:
    """Of ``cached=9 reasoning=3``."""
    return Usage(**{name: int(count) for name, _, count in (each.partition("=") for each in given.split())})


def _shell_call(command: str, tools: Mapping[str, Mapping[str, Any]]) -> ToolCall:
    """A call of the shell tool among those on offer, with whatever arguments it requires."""
    name = next((name for name in SHELLS if name in tools), SHELLS[0])
    schema = tools.get(name, {})
    known = schema.get("properties", {})
    key = "cmd" if "cmd" in known else "command"
    as_list = known.get(key, {}).get("type") == "array"
    return ToolCall(name, {**_filled(schema), key: ["sh", "-c", command] if as_list else command})


def _filled(schema: Mapping[str, Any]) -> dict[str, Any]:
    """Whatever an object must hold."""
    known = schema.get("properties", {})
    required = [name for name in schema.get("required", []) if name in known]
    return {name: FILLERS.get(str(known[name].get("type")).lower(), "x") for name in required}


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
            spoken = _spoken([block["text"] for block in blocks if block["type"] == "text"])
            if found:
                results += found
            elif spoken:
                prompts += spoken
                results = []
        tools = {tool["name"]: tool.get("input_schema", {}) for tool in body.get("tools", [])}
        return Conversation(tuple(prompts), tuple(results), tools, str(body.get("model", "scripted")), not tools)

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
        if reply.cut:
            return
        stop = {"stop_reason": self._stop(reply), "stop_sequence": None}
        yield _sse(
            {"type": "message_delta", "delta": stop, "usage": {"output_tokens": self._usage(reply)["output_tokens"]}}
        )
        yield _sse({"type": "message_stop"})

    def whole(self, reply: Reply, conversation: Conversation) -> dict[str, Any]:
        return {
            "id": f"msg_{len(conversation.prompts)}_{len(conversation.results)}",
            "type": "message",
            "role": "assistant",
            "model": conversation.model,
            "content": self._content(reply),
            "stop_reason": self._stop(reply),
            "stop_sequence": None,
            "usage": self._usage(reply),
        }

    def _stop(self, reply: Reply) -> str:
        return "tool_use" if reply.call else reply.stop or "end_turn"

    def _usage(self, reply: Reply) -> dict[str, Any]:
        used = reply.usage
        cached = {"cache_read_input_tokens": used.cached} if used.cached else {}
        details = {"output_tokens_details": {"thinking_tokens": used.reasoning}} if used.reasoning else {}
        return {"input_tokens": used.input, **cached, "output_tokens": used.output + used.reasoning, **details}

    def error(self, status: int) -> dict[str, Any]:
        kind = self.ERRORS.get(status, "api_error")
        return {"type": "error", "error": {"type": kind, "message": f"scripted error {status}"}}

    def _content(self, reply: Reply) -> list[dict[str, Any]]:
        blocks: list[dict[str, Any]] = [{"type": "text", "text": reply.text}] if reply.text else []
        if reply.call:
            name, arguments = reply.call.name, reply.call.arguments
            blocks.append({"type": "tool_use", "id": f"toolu_{reply.call_id}", "name": name, "input": arguments})
        return blocks

    def _deltas(self, block: dict[str, Any]) -> Iterator[dict[str, Any]]:
        if block["type"] == "tool_use":
            yield {"type": "input_json_delta", "partial_json": json.dumps(block["input"])}
            return
        for piece in _pieces(block["text"]):
            yield {"type": "text_delta", "text": piece}


def _spoken(texts: list[str]) -> list[str]:
    """What the user wrote, a text for each prompt; an agent's own reminders are not his words.

    An agent drops a turn that failed, and then sends the prompts before and after it as blocks of one message.
    """
    return [text for text in texts if text.strip() and not REMINDER.match(text)]


def _pieces(text: str) -> Iterator[str]:
    """A text as it is streamed."""
    for start in range(0, len(text), 1000):
        yield text[start : start + 1000]


def _plain(content: Any) -> str:
    if isinstance(content, list):
        return "\n".join(block.get("text", "") for block in content)
    return str(content or "")


def _sse(event: dict[str, Any]) -> bytes:
    return f"event: {event['type']}\ndata: {json.dumps(event)}\n\n".encode()


# ---- OpenAI's two protocols ------------------------------------------------------------------------------------------


class OpenAI(Dialect):
    """What the two have in common: errors, and how lists of messages are read."""

    KINDS: ClassVar = {
        401: ("invalid_request_error", "invalid_api_key"),
        429: ("rate_limit_error", "rate_limit_exceeded"),
    }

    def error(self, status: int) -> dict[str, Any]:
        kind, code = self.KINDS.get(status, ("invalid_request_error" if status < 500 else "server_error", None))
        return {"error": {"message": f"scripted error {status}", "type": kind, "param": None, "code": code}}

    def _heard(self, messages: list[tuple[str, Any]]) -> tuple[list[str], list[str]]:
        """Prompts, and the tool results since the last of them, of messages as (role, content)."""
        prompts: list[str] = []
        results: list[str] = []
        for role, content in messages:
            if role == "tool":
                results.append(_plain(content))
            elif role == "user" and (spoken := _spoken(_texts(content))):
                prompts += spoken
                results = []
        return prompts, results


class OpenAIResponses(OpenAI):
    """POST /v1/responses (platform.openai.com/docs/api-reference/responses)."""

    STOPS: ClassVar = {"max_tokens": "max_output_tokens", "refusal": "content_filter"}

    def conversation(self, body: dict[str, Any]) -> Conversation:
        given = body.get("input", [])
        items = [{"role": "user", "content": given}] if isinstance(given, str) else given
        prompts, results = self._heard([self._message(item) for item in items])
        tools = {tool["name"]: tool.get("parameters", {}) for tool in body.get("tools", []) if "name" in tool}
        return Conversation(tuple(prompts), tuple(results), tools, str(body.get("model", "scripted")), not tools)

    def events(self, reply: Reply, conversation: Conversation) -> Iterator[bytes]:
        whole = self.whole(reply, conversation)
        yield _sse({"type": "response.created", "response": {**whole, "status": "in_progress", "output": []}})
        for index, item in enumerate(whole["output"]):
            place = {"output_index": index, "item_id": item["id"]}
            empty: dict[str, Any] = {"content": []} if item["type"] == "message" else {"arguments": ""}
            begun = {**item, "status": "in_progress", **empty}
            yield _sse({"type": "response.output_item.added", **place, "item": begun})
            if item["type"] == "message":
                for piece in _pieces(reply.text):
                    yield _sse({"type": "response.output_text.delta", **place, "content_index": 0, "delta": piece})
            if reply.cut:
                return
            yield _sse({"type": "response.output_item.done", **place, "item": item})
        yield _sse({"type": f"response.{whole['status']}", "response": whole})

    def whole(self, reply: Reply, conversation: Conversation) -> dict[str, Any]:
        name = f"{len(conversation.prompts)}_{len(conversation.results)}"
        output: list[dict[str, Any]] = []
        if reply.text:
            content = [{"type": "output_text", "text": reply.text, "annotations": []}]
            message = {"id": f"msg_{name}", "type": "message", "role": "assistant", "status": "completed"}
            output.append({**message, "content": content})
        if reply.call:
            called = {"id": f"fc_{name}", "type": "function_call", "status": "completed", "call_id": reply.call_id}
            output.append({**called, "name": reply.call.name, "arguments": json.dumps(reply.call.arguments)})
        used = reply.usage
        sent, received = used.input + used.cached, used.output + used.reasoning
        return {
            "id": f"resp_{name}",
            "object": "response",
            "status": "incomplete" if reply.stop else "completed",
            "incomplete_details": {"reason": self.STOPS.get(reply.stop, reply.stop)} if reply.stop else None,
            "model": conversation.model,
            "output": output,
            "usage": {
                "input_tokens": sent,
                "input_tokens_details": {"cached_tokens": used.cached},
                "output_tokens": received,
                "output_tokens_details": {"reasoning_tokens": used.reasoning},
                "total_tokens": sent + received,
            },
        }

    def _message(self, item: dict[str, Any]) -> tuple[str, Any]:
        if item.get("type") in {"function_call_output", "custom_tool_call_output"}:
            return "tool", item.get("output")
        return str(item.get("role")), item.get("content")


class OpenAIChat(OpenAI):
    """POST /v1/chat/completions (platform.openai.com/docs/api-reference/chat).

    Some agents offer no tools and read commands or edits out of the text: their requests count where the last prompt
    holds a directive, and a call of the shell is a fenced block.
    """

    STOPS: ClassVar = {"max_tokens": "length", "refusal": "content_filter"}

    def conversation(self, body: dict[str, Any]) -> Conversation:
        messages = body.get("messages", [])
        prompts, results = self._heard([(str(each.get("role")), each.get("content")) for each in messages])
        offered = [tool.get("function", {}) for tool in body.get("tools") or []]
        tools = {tool["name"]: tool.get("parameters", {}) for tool in offered if "name" in tool}
        side = not tools and not (prompts and DIRECTIVE.search(prompts[-1]))
        return Conversation(tuple(prompts), tuple(results), tools, str(body.get("model", "scripted")), side)

    def events(self, reply: Reply, conversation: Conversation) -> Iterator[bytes]:
        whole = self.whole(reply, conversation)
        choice = whole["choices"][0]
        yield self._chunk(whole, {"role": "assistant", "content": ""})
        for piece in _pieces(choice["message"]["content"] or ""):
            yield self._chunk(whole, {"content": piece})
        for index, call in enumerate(choice["message"].get("tool_calls", [])):
            yield self._chunk(whole, {"tool_calls": [{"index": index, **call}]})
        if reply.cut:
            return
        yield self._chunk(whole, {}, choice["finish_reason"])
        yield self._data({**whole, "object": "chat.completion.chunk", "choices": []})
        yield b"data: [DONE]\n\n"

    def whole(self, reply: Reply, conversation: Conversation) -> dict[str, Any]:
        text = reply.text
        message: dict[str, Any] = {"role": "assistant"}
        if reply.call and conversation.tools:
            function = {"name": reply.call.name, "arguments": json.dumps(reply.call.arguments)}
            message["tool_calls"] = [{"id": reply.call_id, "type": "function", "function": function}]
        elif reply.call:
            text = f"{text}\n```bash\n{reply.call.arguments.get('command', '')}\n```".lstrip()
        reason = "tool_calls" if "tool_calls" in message else self.STOPS.get(reply.stop or "", reply.stop) or "stop"
        used = reply.usage
        sent, received = used.input + used.cached, used.output + used.reasoning
        details = {"prompt_tokens_details": {"cached_tokens": used.cached}} if used.cached else {}
        if used.reasoning:
            details["completion_tokens_details"] = {"reasoning_tokens": used.reasoning}
        return {
            "id": f"chatcmpl-{len(conversation.prompts)}-{len(conversation.results)}",
            "object": "chat.completion",
            "created": 1_750_000_000,
            "model": conversation.model,
            "choices": [{"index": 0, "message": {**message, "content": text or None}, "finish_reason": reason}],
            "usage": {"prompt_tokens": sent, "completion_tokens": received, "total_tokens": sent + received, **details},
        }

    def _chunk(self, whole: dict[str, Any], delta: dict[str, Any], reason: str | None = None) -> bytes:
        choices = [{"index": 0, "delta": delta, "finish_reason": reason}]
        plain = {key: value for key, value in whole.items() if key != "usage"}
        return self._data({**plain, "object": "chat.completion.chunk", "choices": choices})

    def _data(self, chunk: dict[str, Any]) -> bytes:
        return f"data: {json.dumps(chunk)}\n\n".encode()


def _texts(content: Any) -> list[str]:
    if isinstance(content, str):
        return [content]
    return [str(part.get("text", "")) for part in content or [] if isinstance(part, dict)]


# ---- Google's protocol -----------------------------------------------------------------------------------------------


class Gemini(Dialect):
    """POST /v1beta/models/MODEL:streamGenerateContent and :generateContent (ai.google.dev/api/generate-content).

    What is asked and of which model stands in the path (`find_dialect`).
    """

    PATH: ClassVar = re.compile(r"/v1(?:beta)?/models/([^/:]+):(streamGenerateContent|generateContent)")
    ERRORS: ClassVar = {
        400: "INVALID_ARGUMENT",
        401: "UNAUTHENTICATED",
        403: "PERMISSION_DENIED",
        404: "NOT_FOUND",
        429: "RESOURCE_EXHAUSTED",
        500: "INTERNAL",
    }
    STOPS: ClassVar = {"max_tokens": "MAX_TOKENS", "refusal": "SAFETY"}

    def conversation(self, body: dict[str, Any]) -> Conversation:
        prompts: list[str] = []
        results: list[str] = []
        for content in body.get("contents", []):
            if content.get("role", "user") not in {"user", "function"}:
                continue
            parts = content.get("parts", [])
            found = [part["functionResponse"].get("response", {}) for part in parts if "functionResponse" in part]
            spoken = _spoken([part.get("text", "") for part in parts])
            if found:
                results += [str(result.get("output", result.get("error", ""))) for result in found]
            elif spoken:
                prompts += spoken
                results = []
        offered = [tool for group in body.get("tools", []) for tool in group.get("functionDeclarations", [])]
        tools = {tool["name"]: tool.get("parametersJsonSchema", {}) for tool in offered}
        asked = body.get("generationConfig", {})
        schema = asked.get("responseJsonSchema", {}) if "json" in asked.get("responseMimeType", "") else None
        model = str(body.get("model", "scripted"))
        return Conversation(tuple(prompts), tuple(results), tools, model, not tools, schema)

    def events(self, reply: Reply, conversation: Conversation) -> Iterator[bytes]:
        yield self._event(reply, conversation, [{"text": ""}])
        for piece in _pieces(reply.text):
            yield self._event(reply, conversation, [{"text": piece}])
        if not reply.cut:
            yield self._event(reply, conversation, self._call(reply), finishReason=self._stop(reply))

    def whole(self, reply: Reply, conversation: Conversation) -> dict[str, Any]:
        parts = [{"text": reply.text}] if reply.text else []
        return self._answer(reply, conversation, parts + self._call(reply), finishReason=self._stop(reply))

    def _stop(self, reply: Reply) -> str:
        return self.STOPS.get(reply.stop or "", reply.stop) or "STOP"

    def error(self, status: int) -> dict[str, Any]:
        kind = self.ERRORS.get(status, "UNKNOWN")
        return {"error": {"code": status, "message": f"scripted error {status}", "status": kind}}

    def _event(self, reply: Reply, conversation: Conversation, parts: list[dict[str, Any]], **more: Any) -> bytes:
        return f"data: {json.dumps(self._answer(reply, conversation, parts, **more))}\r\n\r\n".encode()

    def _answer(
        self, reply: Reply, conversation: Conversation, parts: list[dict[str, Any]], **more: Any
    ) -> dict[str, Any]:
        used = reply.usage
        counts = {"promptTokenCount": used.input + used.cached, "candidatesTokenCount": used.output}
        if used.cached:
            counts["cachedContentTokenCount"] = used.cached
        if used.reasoning:
            counts["thoughtsTokenCount"] = used.reasoning
        total = used.input + used.cached + used.output + used.reasoning
        return {
            "candidates": [{"index": 0, "content": {"role": "model", "parts": parts}, **more}],
            "usageMetadata": {**counts, "totalTokenCount": total},
            "modelVersion": conversation.model,
            "responseId": f"response_{len(conversation.prompts)}_{len(conversation.results)}",
        }

    def _call(self, reply: Reply) -> list[dict[str, Any]]:
        if reply.call is None:
            return []
        called = {"id": reply.call_id, "name": reply.call.name, "args": reply.call.arguments}
        return [{"functionCall": called}]


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
