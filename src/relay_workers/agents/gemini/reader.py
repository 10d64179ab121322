"""Reads the JSON lines of ``gemini --output-format stream-json`` (tried with 0.61.0).

A turn prints ``init``, ``message`` (the user's, then the assistant's in pieces), ``tool_use``, ``tool_result``,
``error`` and ends with one ``result``. Behaviour that the names do not tell:

- If the model repeats itself in a loop, the turn ends with an ``error`` of severity "warning", then a ``result`` of
  status "success" and exit code 0.
- The exit code of a model's error is its HTTP status modulo 256: status 400 looks like signal 16.
- Exit code 42 before ``init`` means that there is no conversation of that id, 41 that there is no way to authenticate.
  Both print nothing on stdout.
- After a SIGTERM it ends with exit code 0 and without ``result``.
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
"""Numbers of ``stats``, without its ``input_tokens``, which include the cached ones. Reasoning is in the total only."""
_EDITS = {"write_file", "replace"}
_GIVEN_UP = ("loop detected", "agent execution blocked")
_EXITED = "Command exited with code: "
"""Output of a command that failed and printed nothing; the status of its result is "success"."""
_NO_AUTH, _BAD_INPUT = 41, 42
_KEY_ADVICE = "give the run a valid GEMINI_API_KEY in `env` or `secrets`"
_KEY_REFUSED = re.compile(r'"code": ?40[13]\b|api.key|UNAUTHENTICATED', re.IGNORECASE)
_UNKNOWN = re.compile(rb"Error resuming session: [^\n]*")
_PAUSE_SECONDS = 1.0
"""Shortest pause before Gemini CLI requests an answer that broke off again; its output does not mention the retry."""


class GeminiReader(JsonReader):
    """Reads one turn: its messages, its end, and its usage."""

    program: ClassVar = "gemini"

    def __init__(self, *, resumes: bool = False, may_write: bool = True) -> None:
        super().__init__(may_write=may_write)
        self._last_piece_at: float | None = None
        """Time of the last piece of the current answer, by the agent's clock: seconds since 1970."""
        self._resumes = resumes
        self._conversation_id: str | None = None
        """Id of the conversation by ``init``."""
        self._final = LastMessage()
        self._earlier: str | None = None
        """Text of the last answer that a tool call ended: the summary if no further answer follows."""
        self._given_up: str | None = None
        self._result: dict[str, Any] | None = None

    @property
    def asked_model(self) -> bool:
        """False for a command of the program itself (``/help``): its ``stats`` have no model and no token."""
        stats = object_of((self._result or {}).get("stats"))
        return bool(stats.get("total_tokens")) or stats.get("models") != {}

    @property
    def last_error(self) -> str | None:
        """Why Gemini CLI gave up; None if it did not."""
        return self._given_up

    def feed(self, data: bytes) -> None:
        """Read the next bytes of standard output; the summary is computed once per call, not once per piece."""
        super().feed(data)
        self.summary = self._final.text or self._earlier

    def take_line(self, line: dict[str, Any]) -> None:
        """Understand one JSON object."""
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
        """Judge the turn: a success has a successful ``result``, did not give up before it, *and* has exit code 0."""
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
            text = f"\n\n{text}"  # perhaps the beginning of a retried answer
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
