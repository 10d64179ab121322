"""The protocol of Gemini."""

import json
import re
from collections.abc import Iterator
from typing import Any, ClassVar

from tests.support.model_server.dialect import Dialect, pieces, words_of_user
from tests.support.model_server.script import Conversation, Reply


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
            spoken = words_of_user([part.get("text", "") for part in parts])
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
        for piece in pieces(reply.text):
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
