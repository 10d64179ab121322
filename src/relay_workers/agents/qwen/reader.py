"""Reads the JSON lines of ``qwen --output-format stream-json`` (tried with 0.24.4).

The format is that of Claude Code (agents/shared/claude_format.py) with four differences:

- Qwen Code prints an error of the model's API as the text of an ``assistant`` line, without a field for its kind, and
  before that as one piece of streamed text.
- ``result`` counts the tokens of the whole conversation, so the reader adds up the usage of the turn's messages. Input
  tokens of a message include cached tokens. Output tokens include reasoning tokens, which have no separate count.
- If an answer breaks off, Qwen Code requests it again and prints ``retry``. If it keeps the first part, both parts
  become one message.
- If Qwen Code does not know the session to resume, it reports this only on standard error.
"""

import re
from collections.abc import Mapping
from typing import Any, ClassVar

from relay_core.domain.agents.conversation import EntryKind
from relay_workers.agents.port import Verdict
from relay_workers.agents.shared import usage as used
from relay_workers.agents.shared.claude_format import ClaudeFormatReader
from relay_workers.agents.shared.json_reader import numbers, object_of, text_of
from relay_workers.agents.shared.resume_failure import resume_failure

_USAGE = {name: name for name in ("input_tokens", "output_tokens", "cache_read_input_tokens")}
_API_ERROR = re.compile(r"\[API Error: (?:(\d{3})\b)?[^\n]*\]\s*\Z")
_API_ERROR_BEGINS = "[API Error: "
_UNKNOWN = re.compile(rb"No saved session found with ID [^.\n]*")


class QwenReader(ClaudeFormatReader):
    """Reads the output of one turn of Qwen Code.

    Args:
        resumed: id of the conversation that the turn resumes; None for a new one.
        may_write: whether the turn's permission mode allows edits.
    """

    program: ClassVar = "qwen"
    key_advice: ClassVar = "give the run a valid OPENAI_API_KEY in `env` or `secrets`"

    def __init__(self, resumed: str | None = None, *, may_write: bool = True) -> None:
        super().__init__(resumes=resumed is not None, may_write=may_write)
        self._resumed = resumed
        self._turn: dict[str, float] = {}

    def take_line(self, line: dict[str, Any]) -> None:
        """Handle one JSON object: convert an API error to the format of Claude Code, and add up the messages' usage."""
        message = object_of(line.get("message")) if line.get("type") == "assistant" else {}
        counted = used.disjoint(numbers(message.get("usage"), _USAGE), input_has=[used.CACHED])
        self._turn = used.total(self._turn, counted)
        error = _API_ERROR.search(_only_text(message))
        if error and error.start() > 0:  # the error follows the text of an answer that broke off
            super().take_line({**line, "message": {**message, "content": _only_text(message)[: error.start()]}})
        error_kind = "authentication_failed" if error and error[1] in {"401", "403"} else "unknown"
        error_message = {"content": error[0] if error else ""}
        api_error = {**line, "message": error_message, "is_api_error_message": True, "error": error_kind}
        super().take_line(api_error if error else line)
        if line.get("type") == "system" and line.get("subtype") == "retry":
            self._error = "the model's answer broke off and was asked for again"
            self.transcript.add_message(self._error, kind=EntryKind.NOTICE)
        self.usage = {**self.usage, **self._turn}

    def take_piece(self, text: str, kind: EntryKind) -> None:
        """Add a piece of the model's text to the conversation; the line ``assistant`` follows with an API error."""
        if not text.startswith(_API_ERROR_BEGINS):
            super().take_piece(text, kind)

    def judge(self, exit_code: int | None) -> Verdict:
        """Return the verdict: `cannot_resume` if the conversation was not resumed, otherwise as for Claude Code."""
        failure = resume_failure(self.program, self._resumed, self.agent_session_id, self.stderr, _UNKNOWN)
        return failure or super().judge(exit_code)

    def result_usage(self, result: dict[str, Any]) -> dict[str, float]:  # noqa: ARG002 - the signature of the base class
        """Return no usage: `take_line` adds up the usage of the messages instead."""
        return {}


def _only_text(message: Mapping[str, Any]) -> str:
    """Return the text of a message with exactly one block; the empty string for other messages."""
    content = message.get("content")
    return text_of(object_of(content[0]).get("text")) if isinstance(content, list) and len(content) == 1 else ""
