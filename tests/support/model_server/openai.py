"""The two protocols of OpenAI: Responses and Chat Completions."""

import json
from collections.abc import Iterator
from typing import Any, ClassVar

from tests.support.model_server.dialect import Dialect, pieces, plain, sse, texts, words_of_user
from tests.support.model_server.script import DIRECTIVE, Conversation, Reply


class OpenAI(Dialect):
    """Common parts of the two dialects: errors, and the reading of lists of messages."""

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
                results.append(plain(content))
            elif role == "user" and (spoken := words_of_user(texts(content))):
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
        yield sse({"type": "response.created", "response": {**whole, "status": "in_progress", "output": []}})
        for index, item in enumerate(whole["output"]):
            place = {"output_index": index, "item_id": item["id"]}
            empty: dict[str, Any] = {"content": []} if item["type"] == "message" else {"arguments": ""}
            begun = {**item, "status": "in_progress", **empty}
            yield sse({"type": "response.output_item.added", **place, "item": begun})
            if item["type"] == "message":
                for piece in pieces(reply.text):
                    yield sse({"type": "response.output_text.delta", **place, "content_index": 0, "delta": piece})
            if reply.cut:
                return
            yield sse({"type": "response.output_item.done", **place, "item": item})
        yield sse({"type": f"response.{whole['status']}", "response": whole})

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
        for piece in pieces(choice["message"]["content"] or ""):
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
