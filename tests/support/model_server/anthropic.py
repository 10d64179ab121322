"""The protocol of Anthropic Messages."""

import json
from collections.abc import Iterator
from typing import Any, ClassVar

from tests.support.model_server.dialect import Dialect, pieces, plain, sse, words_of_user
from tests.support.model_server.script import Conversation, Reply


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
            found = [plain(block.get("content")) for block in blocks if block["type"] == "tool_result"]
            spoken = words_of_user([block["text"] for block in blocks if block["type"] == "text"])
            if found:
                results += found
            elif spoken:
                prompts += spoken
                results = []
        tools = {tool["name"]: tool.get("input_schema", {}) for tool in body.get("tools", [])}
        return Conversation(tuple(prompts), tuple(results), tools, str(body.get("model", "scripted")), not tools)

    def events(self, reply: Reply, conversation: Conversation) -> Iterator[bytes]:
        message = {**self.whole(reply, conversation), "content": [], "stop_reason": None}
        yield sse({"type": "message_start", "message": message})
        blocks = self._content(reply)
        for index, block in enumerate(blocks):
            empty = {**block, "text": ""} if block["type"] == "text" else {**block, "input": {}}
            yield sse({"type": "content_block_start", "index": index, "content_block": empty})
            for delta in self._deltas(block):
                yield sse({"type": "content_block_delta", "index": index, "delta": delta})
            yield sse({"type": "content_block_stop", "index": index})
        if reply.cut:
            return
        stop = {"stop_reason": self._stop(reply), "stop_sequence": None}
        yield sse(
            {"type": "message_delta", "delta": stop, "usage": {"output_tokens": self._usage(reply)["output_tokens"]}}
        )
        yield sse({"type": "message_stop"})

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
        for piece in pieces(block["text"]):
            yield {"type": "text_delta", "text": piece}
