"""Reads the JSON lines of ``gemini --output-format stream-json`` (tried with 0.61.0).

During a turn, Gemini CLI prints ``init``, ``message`` (the user's, then the assistant's in pieces), ``tool_use``,
``tool_result`` and ``error``; it ends the turn with one ``result``. Behaviour that is not obvious from the names:

- If the model repeats itself in a loop, the turn ends with an ``error`` of severity "warning", then a ``result`` of
  status "success" and exit code 0.
- After an error of the model's API, the exit code is the HTTP status modulo 256: status 400 looks like signal 16.
- Exit code 42 before ``init`` means that the conversation to resume does not exist, exit code 41 that Gemini CLI cannot
  authenticate. In both cases it prints nothing on stdout.
- After a SIGTERM, Gemini CLI exits with code 0 and prints no ``result``.
"""

import re
from datetime import datetime
from typing import Any, ClassVar

from relay_core.domain.agents.conversation import EntryKind
from relay_core.domain.vocabulary import Reason
from relay_workers.agents.port import Verdict, exit_code_verdict
from relay_workers.agents.shared import usage as used
from relay_workers.agents.shared.json_reader import JsonReader, numbers, object_of, text_of, valid_id
from relay_workers.agents.shared.plain_text import LastMessage, plain_text

_USAGE = {
    "input": used.INPUT,
    "output_tokens": used.OUTPUT,
    "cached": used.CACHED,
    "duration_ms": "duration_ms",
}
"""Field of ``stats`` in a ``result`` → Relay's name.

Its ``input_tokens`` are not used because they include cached tokens. Reasoning tokens are only in ``total_tokens``.
"""
_EDITS = {"write_file", "replace"}
_GIVEN_UP = ("loop detected", "agent execution blocked")
_EXITED = "Command exited with code: "
"""Beginning of a tool result for a command that failed and printed nothing; the result's status is "success"."""
_NO_AUTH, _BAD_INPUT = 41, 42
_KEY_ADVICE = "give the run a valid GEMINI_API_KEY in `env` or `secrets`"
_KEY_REFUSED = re.compile(r'"code": ?40[13]\b|api.key|UNAUTHENTICATED', re.IGNORECASE)
_UNKNOWN = re.compile(rb"Error resuming session: [^\n]*")
_PAUSE_SECONDS = 1.0
"""A pause of this length between two pieces of an answer may mean that the answer broke off and was requested again.

Gemini CLI waits at least this long before the retry, and does not print that it retries.
"""


class GeminiReader(JsonReader):
    """Reads the output of one turn: messages, tool calls, the result and the usage.

    Args:
        resumes: whether the turn resumes an earlier conversation.
        may_write: whether the turn's permission mode allows edits.
    """

    program: ClassVar = "gemini"

    def __init__(self, *, resumes: bool = False, may_write: bool = True) -> None:
        super().__init__(may_write=may_write)
        self._last_piece_at: float | None = None
        """Timestamp of the last piece of the current answer, in seconds since 1970; None if there is no piece yet."""
        self._resumes = resumes
        self._conversation_id: str | None = None
        """Id of the conversation in the line ``init``."""
        self._final = LastMessage()
        self._earlier: str | None = None
        """Text of the last answer that was followed by a tool call: the summary if no further answer follows."""
        self._given_up: str | None = None
        self._result: dict[str, Any] | None = None

    @property
    def asked_model(self) -> bool:
        """Whether the agent sent a request to a model.

        False for a command of the program itself (``/help``): its ``stats`` contain no model and no token.
        """
        stats = object_of((self._result or {}).get("stats"))
        return bool(stats.get("total_tokens")) or stats.get("models") != {}

    @property
    def last_error(self) -> str | None:
        """The error with which Gemini CLI gave up; None if it did not give up."""
        return self._given_up

    def feed(self, data: bytes) -> None:
        """Parse the next bytes of standard output; compute the summary once per call instead of once per message."""
        super().feed(data)
        self.summary = self._final.text or self._earlier

    def take_line(self, line: dict[str, Any]) -> None:
        """Handle one JSON object of the output."""
        kind = text_of(line.get("type"))
        if kind == "init":
            self._conversation_id = valid_id(line.get("session_id"))
        elif kind == "message":
            self._take_message(line)
        elif kind == "tool_use":
            self._take_call(line)
        elif kind == "tool_result":
            self._take_result(line)
        elif kind == "error":
            self._take_error(line)
        elif kind == "result":
            self._take_end(line)

    def judge(self, exit_code: int | None) -> Verdict:
        """Return the verdict; a success needs a successful ``result``, no fatal error before it, *and* exit code 0."""
        self.summary = self._final.text or self._earlier
        if self._result is not None and self._result.get("status") != "success":
            return Verdict.failed(Reason.AGENT_ERROR, self._complaint(self._result))
        if self._given_up is not None:
            return Verdict.failed(Reason.AGENT_ERROR, plain_text(self._given_up))
        if self._conversation_id is None and exit_code == _BAD_INPUT and self._resumes and _UNKNOWN.search(self.stderr):
            return Verdict.failed(Reason.CANNOT_RESUME, "gemini has no conversation of that id in this workspace")
        if exit_code == _NO_AUTH:
            return Verdict.failed(Reason.AGENT_ERROR, f"gemini found no way to authenticate: {_KEY_ADVICE}")
        by_code = exit_code_verdict("gemini", exit_code)
        if by_code.success and self._result is None:
            return Verdict.failed(Reason.AGENT_ERROR, "gemini ended without a result line: its turn is not complete")
        return by_code

    def _take_message(self, line: dict[str, Any]) -> None:
        self.agent_session_id = self._conversation_id
        if line.get("role") != "assistant":
            return
        text = text_of(line.get("content"))
        now = _seconds(line.get("timestamp"))
        if now is not None and self._last_piece_at is not None and now - self._last_piece_at >= _PAUSE_SECONDS:
            text = f"\n\n{text}"  # this piece may begin a retried answer
        self._last_piece_at = now
        self.transcript.add_text(text)
        self._final.add(text)

    def _take_call(self, line: dict[str, Any]) -> None:
        self._last_piece_at = None
        name, given = text_of(line.get("tool_name")), object_of(line.get("parameters"))
        path = given.get("file_path")
        paths = [path] if name in _EDITS and isinstance(path, str) else []
        self.transcript.begin_call(text_of(line.get("tool_id")), name, given, paths=paths)
        self._earlier = self._final.text or self._earlier
        self._final.end()

    def _take_result(self, line: dict[str, Any]) -> None:
        output = text_of(line.get("output")) or text_of(object_of(line.get("error")).get("message"))
        failed = line.get("status") != "success" or output.startswith(_EXITED)
        self.transcript.end_call(text_of(line.get("tool_id")), output, failed=failed)

    def _take_error(self, line: dict[str, Any]) -> None:
        message = text_of(line.get("message"))
        fatal = line.get("severity") == "error" or message.lower().startswith(_GIVEN_UP)
        if fatal:
            self._given_up = plain_text(message)
            self.transcript.add_error(message)
        else:
            self.transcript.add_message(message, kind=EntryKind.NOTICE)

    def _take_end(self, result: dict[str, Any]) -> None:
        self._result = result
        stats = object_of(result.get("stats"))
        self.usage = numbers(stats, _USAGE)
        counts = numbers(stats, {"total_tokens": "all", "input_tokens": "sent", "output_tokens": "received"})
        if (reasoning := counts.get("all", 0.0) - counts.get("sent", 0.0) - counts.get("received", 0.0)) > 0:
            self.usage = {**self.usage, used.REASONING: reasoning}
        if text_of(object_of(result.get("error")).get("message")):
            self.transcript.add_error(self._complaint(result) or "")

    def _complaint(self, result: dict[str, Any]) -> str | None:
        error = text_of(object_of(result.get("error")).get("message")) or self._given_up
        text = (error or f"gemini reports the status {result.get('status')}").rstrip(". ")
        if _KEY_REFUSED.search(text):
            text = f"{text}: {_KEY_ADVICE}"
        return plain_text(text)


def _seconds(timestamp: object) -> float | None:
    try:
        return datetime.fromisoformat(text_of(timestamp)).timestamp()
    except (ValueError, OverflowError):
        return None
