"""Reads the lines that driver.py prints: the agent's updates (Agent Client Protocol) and the end of the turn.

The reader accepts the id of a conversation once the agent has answered in the conversation: some agents do not save it
before that. The driver's `end` line contains the agent's stop reason. Agents report the tokens of the turn, but the
cost of the whole conversation: the reader uses the cost only if the turn started the conversation.
"""

import json
from dataclasses import dataclass
from typing import Any, ClassVar

from relay_core.domain.agents.conversation import MAX_INPUT_BYTES, MAX_TEXT_BYTES, EntryKind
from relay_core.domain.vocabulary import Reason
from relay_workers.agents.port import Verdict, exit_code_verdict
from relay_workers.agents.shared import usage as used
from relay_workers.agents.shared.json_reader import JsonReader, is_number, numbers, object_of, text_of, valid_id
from relay_workers.agents.shared.plain_text import MAX_BYTES, plain_text
from relay_workers.agents.shared.transcript import OPEN_CALLS

_USAGE = {
    "inputTokens": "input_tokens",
    "outputTokens": "output_tokens",
    "cachedReadTokens": "cache_read_input_tokens",
    "cachedWriteTokens": "cache_creation_input_tokens",
    "thoughtTokens": "reasoning_tokens",
    "cost_usd": "cost_usd",
}
_STOPPED = {
    "refusal": "the model refuses to go on with this conversation",
    "max_tokens": "the model's answer reached its limit of tokens",
    "max_turn_requests": "the agent reached its limit of model requests in a turn",
    "cancelled": "the turn was cancelled",
}
_INTERNAL_FIELDS = {"call_id", "process_id", "turn_id", "started_at_ms", "parsed_cmd", "source"}
_OUTPUT_FIELDS = ("formatted_output", "aggregated_output", "output")
_CHANGES = {"edit", "delete", "move"}
"""Kinds of tool calls that change files."""
_AUTH_REQUIRED = -32000
_REFUSED = {"type": "content", "content": {"type": "text", "text": "Permission was refused."}}
_BARE_WORDS = 3
"""If an error message has at most this many words ("Internal error"), its data is appended."""
_MESSAGE_CHARACTERS = 4 * MAX_BYTES
"""Number of characters kept of a message for the summary."""


@dataclass
class _Call:
    """A tool call that has not ended.

    `given` (input) and `shown` (result) may be one character longer than the transcript's limit, so that the transcript
    notices that they were cut.
    """

    name: str = ""
    kind: str = ""
    given: str = ""
    shown: str = ""
    paths: tuple[str, ...] = ()


class AcpReader(JsonReader):
    """Reads the output of one turn of any agent that speaks the Agent Client Protocol."""

    program: ClassVar = "the agent"

    def __init__(self, *, may_write: bool = True) -> None:
        self._message: list[str] = []
        self._room = _MESSAGE_CHARACTERS
        self._in_message = False
        """Whether the last update was a piece of a message, which the next piece of text may continue."""
        self._message_id: str | None = None
        super().__init__(may_write=may_write)
        self._conversation_id: str | None = None
        """Id of the conversation in the driver's `session` line."""
        self._loaded = False
        self._calls: dict[str, _Call] = {}
        self._ended_calls: dict[str, None] = {}
        """Ids of the last calls that ended, as keys; later updates of these calls are ignored."""
        self._last: dict[str, Any] | None = None
        """The driver's `end` or `error` line; None until it was read."""
        self._counted: dict[str, float] = {}
        self._cost: dict[str, float] = {}

    @property
    def summary(self) -> str | None:
        """The agent's last message, joined from its pieces; None if there is none."""
        return plain_text("".join(self._message))

    @summary.setter
    def summary(self, _: str | None) -> None:
        """Ignore the value: the summary is always computed from the messages."""

    def take_line(self, line: dict[str, Any]) -> None:
        """Handle one line of the driver."""
        kind = text_of(line.get("type"))
        if kind == "session":
            self._conversation_id = valid_id(line.get("session_id"))
            self._loaded = line.get("loaded") is True
            self.agent_session_id = self._conversation_id if self._loaded else None
        elif kind == "update":
            self._take_update(object_of(line.get("update")))
        elif kind == "permission":
            self._take_permission(line)
        elif kind == "end":
            self._last, self.agent_session_id = line, self._conversation_id
            self.agent_message_id = self._message_id
            self.usage = self._cost | (numbers(line.get("usage"), _USAGE) or self._counted)
        elif kind == "error":
            self._last = line
            self.transcript.add_error(_complaint(line))

    def judge(self, exit_code: int | None) -> Verdict:
        """Return the verdict; a success needs an `end` line with the stop reason end_turn *and* exit code 0."""
        by_code = exit_code_verdict("the agent's driver", exit_code)
        last = self._last
        if last is None or exit_code not in (0, 1, None):
            if not by_code.success:
                return by_code
            return Verdict.failed(
                Reason.AGENT_ERROR, "the agent's driver ended without a last line: the turn is not complete"
            )
        if last.get("type") == "error":
            unknown = last.get("stage") == "load" and last.get("code") != _AUTH_REQUIRED
            return Verdict.failed(Reason.CANNOT_RESUME if unknown else Reason.AGENT_ERROR, plain_text(_complaint(last)))
        why = text_of(last.get("stop_reason"))
        if why != "end_turn":
            return Verdict.failed(
                Reason.AGENT_ERROR, plain_text(_STOPPED.get(why, f"the agent stopped: {why or 'no reason'}"))
            )
        return by_code

    def _take_update(self, update: dict[str, Any]) -> None:
        kind = text_of(update.get("sessionUpdate"))
        if kind == "agent_message_chunk":
            self.agent_session_id = self._conversation_id
            self._take_message(update)
            return
        if kind == "agent_thought_chunk":
            self.transcript.add_text(_content(update.get("content")), kind=EntryKind.REASONING)
        elif kind in {"tool_call", "tool_call_update"}:
            self._take_call(update)
        elif kind == "plan":
            self.transcript.add_message(_plan(update.get("entries")), kind=EntryKind.NOTICE)
        elif kind == "usage_update":
            self._take_cost(object_of(update.get("cost")))
            return
        else:
            return
        self.agent_session_id = self._conversation_id
        self._in_message = False

    def _take_message(self, update: dict[str, Any]) -> None:
        text, message_id = _content(update.get("content")), valid_id(update.get("messageId"))
        meta = object_of(update.get("_meta"))
        # Qwen Code reports the usage of each request here. Input tokens include cached tokens, output tokens include
        # reasoning tokens.
        request = used.disjoint(
            numbers(meta.get("usage"), _USAGE), input_has=[used.CACHED], output_has=[used.REASONING]
        )
        self._counted = used.total(self._counted, request)
        self.usage = self._cost | self._counted
        if object_of(meta.get("claudeCode")).get("kind") == "informational":
            self.transcript.add_message(text, kind=EntryKind.NOTICE)
            return
        if not text:
            return
        if self._in_message and message_id != self._message_id:
            self.transcript.add_text("\n\n")
            self._in_message = False
        if not self._in_message:
            self._message, self._room, self._in_message = [], _MESSAGE_CHARACTERS, True
        self._message_id = message_id
        if self._room > 0:
            self._message.append(text[: self._room])
            self._room -= len(text)
        self.transcript.add_text(text)

    def _take_permission(self, line: dict[str, Any]) -> None:
        """Handle a permission request as an update of the tool call: some agents send no other update of that call."""
        self.refused |= line.get("allowed") is not True
        asked = object_of(line.get("tool_call"))
        refused = {"status": "failed", "content": [_REFUSED]} if line.get("allowed") is not True else {}
        self._take_call({**asked, **refused})

    def _take_call(self, update: dict[str, Any]) -> None:
        call_id = text_of(update.get("toolCallId"))
        if call_id in self._ended_calls:
            return
        call = self._calls.setdefault(call_id, _Call())
        while len(self._calls) > OPEN_CALLS:
            del self._calls[next(iter(self._calls))]
        _merge(call, update)
        self.transcript.begin_call(call_id, call.name or call.kind or "tool", call.given, paths=call.paths)
        status = text_of(update.get("status"))
        if status in ("completed", "failed"):
            self.transcript.end_call(call_id, call.shown, failed=status == "failed")
            del self._calls[call_id]
            self._ended_calls[call_id] = None
            while len(self._ended_calls) > OPEN_CALLS:
                del self._ended_calls[next(iter(self._ended_calls))]

    def _take_cost(self, cost: dict[str, Any]) -> None:
        if cost.get("currency") == "USD" and not self._loaded and is_number(amount := cost.get("amount")):
            self._cost = {"cost_usd": float(amount)}
            self.usage = self._cost | self._counted


def _merge(call: _Call, update: dict[str, Any]) -> None:
    call.name = text_of(update.get("name")) or call.name or text_of(update.get("title"))
    call.kind = text_of(update.get("kind")) or call.kind
    if (given := update.get("rawInput")) is not None:
        call.given = _text(_tool_input(given))[: MAX_INPUT_BYTES + 1]
    content = _objects(update.get("content"))
    diffs = [text_of(block.get("path")) for block in content if block.get("type") == "diff"]
    shown = "\n".join(filter(None, (_content(block.get("content")) for block in content)))
    if not shown and not call.shown and update.get("rawOutput") is not None:
        shown = _output(update["rawOutput"])
    call.shown = shown[: MAX_TEXT_BYTES + 1] or call.shown
    located = [text_of(location.get("path")) for location in _objects(update.get("locations"))]
    if found := tuple(filter(None, dict.fromkeys([*diffs, *(located if call.kind in _CHANGES else [])]))):
        call.paths = found


def _tool_input(given: Any) -> Any:
    """Return the input of a tool call without the internal fields that codex-acp adds."""
    if not isinstance(given, dict) or "call_id" not in given:
        return given
    return {key: value for key, value in given.items() if key not in _INTERNAL_FIELDS}


def _output(raw: Any) -> str:
    """Return the output text in the raw result of a tool call; if no field contains it, the whole result as JSON."""
    fields = (object_of(raw).get(name) for name in _OUTPUT_FIELDS)
    output = next((field for field in fields if isinstance(field, str)), None)
    return _text(raw) if output is None else output


def _content(block: object) -> str:
    content = object_of(block)
    resource = object_of(content.get("resource"))
    return text_of(content.get("text")) or text_of(resource.get("text")) or text_of(content.get("uri"))


def _plan(entries: object) -> str:
    steps = _objects(entries)
    marks = {"completed": "x", "in_progress": "~"}
    return "\n".join(
        f"[{marks.get(text_of(step.get('status')), ' ')}] {text_of(step.get('content'))}" for step in steps
    )


def _objects(value: object) -> list[dict[str, Any]]:
    return [object_of(item) for item in value] if isinstance(value, list) else []


def _complaint(line: dict[str, Any]) -> str:
    error, data = _plain(text_of(line.get("message"))) or "the agent reports an error", line.get("data")
    more = text_of(data) or text_of(object_of(data).get("details")) or _plain(text_of(object_of(data).get("message")))
    if not more and data and len(error.split()) <= _BARE_WORDS:
        more = _text(data)
    advice = "give the run the agent's key in `env` or `secrets`" if line.get("code") == _AUTH_REQUIRED else ""
    return ": ".join(filter(None, (error.rstrip(". "), "" if more in error else more, advice)))


def _plain(error: str) -> str:
    """Return the message of an error; if the error is a JSON answer of the model's API, the message inside of it."""
    try:
        answer = object_of(json.loads(error)) if error.startswith("{") else {}
    except (ValueError, RecursionError):
        return error
    return text_of(object_of(answer.get("error")).get("message")) or text_of(answer.get("message")) or error


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
