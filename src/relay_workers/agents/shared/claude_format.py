"""Reads the JSON lines of Claude Code (``claude -p --output-format stream-json --verbose``, tried with 2.1.329).

During a turn, Claude Code prints ``system`` (subtypes ``init``, ``api_retry``, …), ``assistant`` and ``user`` (tool
results) lines. It ends the turn with one ``result``, or with several if something ran in the background. Behaviour that
is not obvious from the names:

- ``result.subtype`` is "success" even if the model's API failed; ``is_error`` is reliable. A turn stopped by a signal
  prints no ``result``. If the program refuses to start (root, an empty prompt), it prints nothing on stdout.
- With ``--include-partial-messages`` the program also prints ``stream_event`` lines: the events of the model's API,
  with each piece of text as it arrives. The ``assistant`` line of a block repeats its whole text. If an answer breaks
  off and is requested again, another ``message_start`` follows without such a line.
- The program prints ``init`` before it saves the conversation: a turn killed there cannot be resumed (seen in 6 of 6
  runs). So the reader accepts a session id only after the model has answered. After a failed resume, ``result`` may
  contain an id that belongs to no conversation.
- For an API error the program prints an ``assistant`` line of its own with ``is_api_error_message``, and the same error
  in ``result``.
- If the program does not know the session, it prints a ``result`` of subtype ``error_during_execution`` with the
  message in ``errors``.
- ``usage`` of a ``result`` does not count subagents, and ``total_cost_usd`` counts the whole conversation;
  ``model_usage_since_last_result`` counts all agents since the previous ``result``.

Qwen Code prints the same lines with a few differences (agents/qwen/reader.py).
"""

from typing import Any, ClassVar

from relay_core.domain.agents.conversation import EntryKind
from relay_core.domain.vocabulary import Reason
from relay_workers.agents.port import Verdict, exit_code_verdict
from relay_workers.agents.shared import usage as used
from relay_workers.agents.shared.json_reader import JsonReader, numbers, object_of, text_of, valid_id
from relay_workers.agents.shared.plain_text import plain_text

_USAGE = {name: name for name in (used.INPUT, used.OUTPUT, used.CACHED, used.WRITTEN)}
_MODEL_USAGE = {
    "inputTokens": used.INPUT,
    "outputTokens": used.OUTPUT,
    "thinkingTokens": used.REASONING,
    "cacheReadInputTokens": used.CACHED,
    "cacheCreationInputTokens": used.WRITTEN,
    "costUSD": "cost_usd",
}
_RESULT_USAGE = {"num_turns": "turns", "duration_ms": "duration_ms"}
_STREAMED = {"thinking": EntryKind.REASONING, "text": EntryKind.ASSISTANT}
"""Field of a ``content_block_delta`` → kind of the message to which the text belongs."""
_EDITS = {"Edit", "MultiEdit", "Write", "NotebookEdit", "edit", "write_file", "replace"}
_PATHS = ("file_path", "notebook_path", "path")
_UNKNOWN_SESSION = "no conversation found"


class ClaudeFormatReader(JsonReader):
    """Reads the output of one turn: messages, tool calls, the result and the usage.

    Args:
        resumes: whether the turn resumes an earlier conversation.
        may_write: whether the turn's permission mode allows edits.
    """

    key_advice: ClassVar[str]
    """Advice that is appended to the message of a failed authentication."""

    def __init__(self, *, resumes: bool = False, may_write: bool = True) -> None:
        super().__init__(may_write=may_write)
        self._resumes = resumes
        self._error: str | None = None
        self._error_kind: str | None = None
        self._result: dict[str, Any] | None = None
        self._message_id: str | None = None
        self._settled: dict[str, float] = {}
        """Usage up to the last ``result``, as the ``result`` lines report it."""
        self._since: dict[str, float] = {}
        """Usage since the last ``result``, as the messages report it."""
        self._counted: dict[str | None, tuple[str, dict[str, float]]] = {}
        """Name of each subagent (None: the agent itself) → id and usage of its last counted message.

        Claude Code prints a line for each block of a message, and each line repeats the usage of the whole message so
        far.
        """

    @property
    def last_error(self) -> str | None:
        """The last error of the model's API; None if the model answered after it."""
        return self._error

    @property
    def asked_model(self) -> bool:
        """Whether the agent sent a request to a model.

        False for a command of the program itself (``/clear``): its ``result`` counts no request and no token.
        """
        return self._result is None or self.usage.get("turns") != 0 or bool(self.usage.get(used.INPUT))

    def take_line(self, line: dict[str, Any]) -> None:
        """Handle one JSON object of the output."""
        kind, subtype = text_of(line.get("type")), text_of(line.get("subtype"))
        if kind in {"assistant", "user"}:
            self.agent_session_id = valid_id(line.get("session_id")) or self.agent_session_id
            self.transcript.agent = _subagent(line)
        if kind == "assistant":
            self._take_message(line)
        elif kind == "user":
            self._take_results(line)
        elif kind == "stream_event":
            self._take_event(line)
        elif kind == "result":
            self._take_end(line)
        elif kind == "system":
            self._take_system(subtype, line)
        self.transcript.agent = None

    def judge(self, exit_code: int | None) -> Verdict:
        """Return the verdict; a success needs a successful ``result`` *and* exit code 0."""
        if self._result is not None and _failed(self._result):
            return Verdict.failed(*self._complaint(self._result))
        by_code = exit_code_verdict(self.program, exit_code)
        if by_code.success and self._result is None:
            message = f"{self.program} ended without a result line: its turn is not complete"
            return Verdict.failed(Reason.AGENT_ERROR, message)
        if not by_code.success and self._error is not None:
            return Verdict.failed(Reason.EXIT_CODE, plain_text(f"{by_code.message}. Its last error: {self._error}"))
        return by_code

    def _take_system(self, subtype: str, line: dict[str, Any]) -> None:
        if subtype == "init":
            self._counted.clear()
        elif subtype == "api_retry":
            self._error = plain_text(f"{line.get('error')} (status {line.get('error_status')}), tried again")
            self.transcript.add_message(self._error or "", kind=EntryKind.NOTICE)
        elif subtype == "informational":  # for example: a filter stopped the model's answer
            self.transcript.add_message(text_of(line.get("content")), kind=EntryKind.NOTICE)

    def _take_event(self, line: dict[str, Any]) -> None:
        event = object_of(line.get("event"))
        if line.get("parent_tool_use_id") is not None:  # of a subagent: its complete messages follow
            return
        if event.get("type") == "message_start":
            self.transcript.begin_stream()
        elif event.get("type") == "content_block_delta":
            delta = object_of(event.get("delta"))
            for name, kind in _STREAMED.items():
                self.take_piece(text_of(delta.get(name)), kind)

    def take_piece(self, text: str, kind: EntryKind) -> None:
        """Handle a piece of text that the model has just said; empty for another kind of piece."""
        self.transcript.stream_text(text, kind=kind)

    def _take_message(self, line: dict[str, Any]) -> None:
        blocks = _blocks(line)
        text = plain_text("\n".join(text_of(block.get("text")) for block in blocks if block.get("type") == "text"))
        if line.get("is_api_error_message"):
            kind = line.get("error")
            self._error, self._error_kind = text, kind if isinstance(kind, str) else None
            self.transcript.add_error(text or "")
            return
        self._count(line)
        for block in blocks:
            self._take_block(block)
        if self.transcript.agent is not None:  # a message of a subagent is not the agent's answer
            return
        self._error = None
        self._message_id = valid_id(line.get("uuid")) or self._message_id
        self.summary = text or self.summary

    def _count(self, line: dict[str, Any]) -> None:
        message, agent = object_of(line.get("message")), self.transcript.agent
        identity, tokens = text_of(message.get("id")), message_usage(message)
        before = self._counted.get(agent)
        if before is not None and identity and before[0] == identity:
            tokens = used.growth(before[1], tokens)
        else:
            self._counted[agent] = (identity, tokens)
        self._since = used.total(self._since, tokens)
        self.usage = used.total(self._settled, self._since)

    def _take_block(self, block: dict[str, Any]) -> None:
        kind = text_of(block.get("type"))
        if kind == "text":
            self.transcript.complete_message(text_of(block.get("text")))
        elif kind == "thinking":
            self.transcript.complete_message(text_of(block.get("thinking")), kind=EntryKind.REASONING)
        elif kind == "tool_use":
            name, given = text_of(block.get("name")), object_of(block.get("input"))
            paths = [given[key] for key in _PATHS if isinstance(given.get(key), str)] if name in _EDITS else []
            self.transcript.begin_call(text_of(block.get("id")), name, given, paths=paths)

    def _take_results(self, line: dict[str, Any]) -> None:
        for block in _blocks(line):
            if block.get("type") == "tool_result":
                failed = block.get("is_error") is True
                self.transcript.end_call(text_of(block.get("tool_use_id")), _plain(block.get("content")), failed=failed)
            elif line.get("isSynthetic") is True:  # a message of the program to the model, such as "answer was cut"
                self.transcript.add_message(text_of(block.get("text")), kind=EntryKind.NOTICE)

    def _take_end(self, result: dict[str, Any]) -> None:
        self._result = result
        self.agent_message_id = self._message_id
        self._settled = used.total(self._settled, self.result_usage(result), numbers(result, _RESULT_USAGE))
        self._since = {}
        self._counted.clear()
        self.usage = self._settled
        if _failed(result):
            self.transcript.add_error(self._complaint(result)[1] or "")
        else:
            self.summary = plain_text(text_of(result.get("result"))) or self.summary

    def result_usage(self, result: dict[str, Any]) -> dict[str, float]:
        """Return the usage between the previous ``result`` and this one."""
        models = result.get("model_usage_since_last_result")
        if isinstance(models, dict):
            counted = used.total(*(numbers(usage, _MODEL_USAGE) for usage in models.values()))
            return used.disjoint(counted, output_has=[used.REASONING])
        # Older versions report only the cost of the whole conversation: use it if this turn started the conversation.
        cost = {} if self._resumes or self._settled else numbers(result, {"total_cost_usd": "cost_usd"})
        return message_usage(result) | cost

    def _complaint(self, result: dict[str, Any]) -> tuple[Reason, str | None]:
        errors = result.get("errors")
        listed = [str(error) for error in errors] if isinstance(errors, list) else []
        listed += [text_of(object_of(result.get("error")).get("message"))]
        final = text_of(result.get("result"))
        reported = final if final.strip() else "; ".join(filter(None, listed)) or self._error
        text = str(reported or f"{self.program} reports {result.get('subtype')}").rstrip(". ")
        if text.lower().startswith(_UNKNOWN_SESSION):
            return Reason.CANNOT_RESUME, plain_text(text)
        if self._error_kind == "authentication_failed" or result.get("api_error_status") in (401, 403):
            text = f"{text}: {self.key_advice}"
        return Reason.AGENT_ERROR, plain_text(text)


def message_usage(message: dict[str, Any]) -> dict[str, float]:
    """Return the token counts in the field ``usage`` of a message or ``result``, by Relay's names."""
    usage = object_of(message.get("usage"))
    counted = numbers(usage, _USAGE)
    counted |= numbers(usage.get("output_tokens_details"), {"thinking_tokens": used.REASONING})
    return used.disjoint(counted, output_has=[used.REASONING])


def _subagent(line: dict[str, Any]) -> str | None:
    """Return a name for the subagent that printed a line; None for a line of the agent itself."""
    parent = line.get("parent_tool_use_id")
    if parent is None:
        return None
    kind = text_of(line.get("subagent_type")) or "subagent"
    task = text_of(line.get("task_description")) or text_of(parent)
    return plain_text(f"{kind}: {task}"[:200]) or kind


def _failed(result: dict[str, Any]) -> bool:
    return result.get("is_error") is not False or result.get("subtype") != "success"


def _blocks(line: dict[str, Any]) -> list[dict[str, Any]]:
    content = object_of(line.get("message")).get("content")
    if isinstance(content, str):
        return [{"type": "text", "text": content}]
    return [block for block in content if isinstance(block, dict)] if isinstance(content, list) else []


def _plain(content: object) -> str:
    if isinstance(content, list):
        return "\n".join(text_of(object_of(block).get("text")) for block in content)
    return text_of(content)
