"""Reads the JSON lines of ``codex exec --json`` (tried with 0.169.0).

During a turn, Codex prints ``thread.started``, ``turn.started``, ``item.started``, ``item.updated`` and
``item.completed``; it ends the turn with ``turn.completed`` or ``turn.failed``. Behaviour that is not obvious from the
names:

- There is no result line: ``turn.completed`` and exit code 0 mean success; the last ``agent_message`` is the answer.
- After a line of type ``error`` Codex may try again ("Reconnecting... 1/5"); ``turn.failed`` repeats the last of these
  errors. An *item* of that type is a warning.
- Codex prints ``thread.started`` before it saves the conversation: a turn killed there cannot be resumed. A turn killed
  after ``turn.started`` can be resumed (seen in 5 of 5 runs).
- Codex prints the token count of the whole conversation, and only after a completed turn. So the executor's script
  prints the last ``token_count`` from the files of Codex: after each turn, and also before a turn that resumes a
  conversation.
- Input tokens include cached tokens, output tokens include reasoning tokens.
- If Codex does not know the conversation to resume, it reports this only on standard error.
"""

import json
import re
from typing import Any, ClassVar

from relay_core.domain.agents.conversation import EntryKind
from relay_core.domain.vocabulary import Reason
from relay_workers.agents.port import Verdict, exit_code_verdict
from relay_workers.agents.shared import usage as used
from relay_workers.agents.shared.json_reader import JsonReader, numbers, object_of, text_of, valid_id
from relay_workers.agents.shared.plain_text import plain_text
from relay_workers.agents.shared.resume_failure import resume_failure

_UNKNOWN = re.compile(rb"no rollout found for thread id [^(\n]*")
_USAGE = {
    "input_tokens": "input_tokens",
    "cached_input_tokens": "cache_read_input_tokens",
    "cache_write_input_tokens": "cache_creation_input_tokens",
    "output_tokens": "output_tokens",
    "reasoning_output_tokens": "reasoning_tokens",
}
_KEY_ADVICE = "give the run a valid OPENAI_API_KEY in `env` or `secrets`"
_MESSAGES = {"agent_message": EntryKind.ASSISTANT, "reasoning": EntryKind.REASONING, "error": EntryKind.NOTICE}
_TRIES_AGAIN = "Reconnecting..."
_FAILED = ("failed", "declined")
_OWN = {"id", "type", "status", "result", "error", "aggregated_output", "exit_code"}
"""Names of an item's fields that do not belong to the input of the tool."""


class CodexReader(JsonReader):
    """Reads the output of one turn: messages, tool calls, the result and the usage.

    Args:
        resumed: id of the conversation that the turn resumes; None for a new one.
        may_write: whether the turn's permission mode allows edits.
    """

    program: ClassVar = "codex"

    def __init__(self, resumed: str | None = None, *, may_write: bool = True) -> None:
        super().__init__(may_write=may_write)
        self._resumed = resumed
        self._thread: str | None = None
        self._before: dict[str, float] = {}
        """Token counts of the conversation before this turn."""
        self._error: str | None = None
        self._failed = False
        self._completed = False

    @property
    def last_error(self) -> str | None:
        """The last error that Codex printed; None if a message of the model or ``turn.completed`` followed it."""
        return self._error

    def take_line(self, line: dict[str, Any]) -> None:
        """Handle one JSON object of the output."""
        kind = text_of(line.get("type"))
        if kind == "thread.started":
            self._thread = valid_id(line.get("thread_id"))
        elif kind == "turn.started":
            self.agent_session_id = self._thread
        elif kind.startswith("item."):
            self._take_item(object_of(line.get("item")), ended=kind == "item.completed")
        elif kind == "turn.completed":
            self._completed, self._error = True, None
            self._count(numbers(line.get("usage"), _USAGE))
        elif kind == "turn.failed":
            self._failed = True
            self._complain(text_of(object_of(line.get("error")).get("message")))
        elif kind == "error":
            self._complain(text_of(line.get("message")))
        elif kind == "event_msg":
            info = object_of(object_of(line.get("payload")).get("info"))
            total = numbers(info.get("total_token_usage"), _USAGE)
            if self._thread is None:
                self._before = total
            else:
                self._count(total)

    def _count(self, total: dict[str, float]) -> None:
        turn = used.growth(self._before, total)
        self.usage = used.disjoint(turn, input_has=[used.CACHED, used.WRITTEN], output_has=[used.REASONING])

    def judge(self, exit_code: int | None) -> Verdict:
        """Return the verdict; a success needs ``turn.completed`` *and* exit code 0."""
        if failure := resume_failure(self.program, self._resumed, self._thread, self.stderr, _UNKNOWN):
            return failure
        if self._failed:
            return Verdict.failed(Reason.AGENT_ERROR, self._error or f"{self.program} reports that the turn failed")
        by_code = exit_code_verdict(self.program, exit_code)
        if by_code.success and not self._completed:
            message = self._error or f"{self.program} ended without turn.completed: its turn is not complete"
            return Verdict.failed(Reason.AGENT_ERROR, message)
        if not by_code.success and self._error is not None:
            return Verdict.failed(Reason.EXIT_CODE, plain_text(f"{by_code.message}. Its last error: {self._error}"))
        return by_code

    def _complain(self, message: str) -> None:
        plain = _plain(message)
        retried = message.startswith(_TRIES_AGAIN)
        if not retried and ("401 Unauthorized" in message or "403 Forbidden" in message):
            plain = f"{plain.rstrip('. ')}: {_KEY_ADVICE}"
        error = plain_text(plain)
        if error and error != self._error:
            self._error = error
            if retried:
                self.transcript.add_message(error, kind=EntryKind.NOTICE)
            else:
                self.transcript.add_error(error)

    def _take_item(self, item: dict[str, Any], *, ended: bool) -> None:
        kind = text_of(item.get("type"))
        if kind in _MESSAGES:
            if ended:
                self._take_message(kind, text_of(item.get("text")) or text_of(item.get("message")))
        elif kind:
            self._take_call(kind, item, ended=ended)

    def _take_message(self, kind: str, text: str) -> None:
        self.transcript.add_message(text, kind=_MESSAGES[kind])
        if kind == "agent_message":
            self._error = None
            self.summary = plain_text(text) or self.summary

    def _take_call(self, kind: str, item: dict[str, Any], *, ended: bool) -> None:
        call_id = text_of(item.get("id"))
        given = {key: value for key, value in item.items() if key not in _OWN}
        changes = given.get("changes") if kind == "file_change" else None
        found = [object_of(change).get("path") for change in changes] if isinstance(changes, list) else []
        paths = [path for path in found if isinstance(path, str)]
        self.transcript.begin_call(call_id, text_of(item.get("tool")) or kind, given, paths=paths)
        if ended:
            code = item.get("exit_code")
            failed = item.get("status") in _FAILED or code not in (None, 0)
            self.transcript.end_call(call_id, _result(item), failed=failed, exit_code=code)


def _result(item: dict[str, Any]) -> str:
    output = item.get("aggregated_output")
    if isinstance(output, str):
        return output
    content = object_of(item.get("result")).get("content")
    if isinstance(content, list):
        return "\n".join(text_of(object_of(block).get("text")) for block in content)
    return text_of(object_of(item.get("error")).get("message"))


def _plain(message: str) -> str:
    """Return an error message in which the JSON answer of the model's API is replaced by the message inside of it."""
    start = message.find("{")
    try:
        parsed, _ = json.JSONDecoder().raw_decode(message[start:]) if start >= 0 else (None, 0)
    except (ValueError, RecursionError):
        return message
    inner = object_of(object_of(parsed).get("error"))
    text = text_of(inner.get("message")) or text_of(object_of(parsed).get("detail"))
    return f"{message[:start]}{text}" if text else message
