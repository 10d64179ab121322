"""Reads the JSON lines of ``gemini --output-format stream-json`` (tried with 0.61.0).

A turn prints ``init``, ``message`` (the user's, then the assistant's in pieces), ``tool_use``, ``tool_result``,
``error`` and ends with one ``result``. What the words do not say:

- A conversation in which the model goes in circles ends with an ``error`` of severity "warning", then ``result`` of
  status "success" and exit code 0.
- The exit code of a model's error is its HTTP status modulo 256: 400 looks like signal 16.
- Exit code 42 before ``init``: there is no conversation of that id. 41: no way to authenticate. Neither says anything
  on stdout.
- After a SIGTERM it ends with exit code 0 and no ``result``.
"""

import re
from datetime import datetime
from typing import Any, ClassVar

from relay_core.domain.agents.conversation import EntryKind
from relay_core.domain.vocabulary import Reason
from relay_workers.agents.port import Verdict, exit_verdict
from relay_workers.agents.shared import usage as used
from relay_workers.agents.shared.json_turn import JsonTurn, numbers, object_of, text_of, valid_id
from relay_workers.agents.shared.plain_text import LastMessage, plain_text

_USAGE = {
    "input": used.INPUT,
    "output_tokens": used.OUTPUT,
    "cached": used.CACHED,
    "duration_ms": "duration_ms",
}
"""Its own ``input_tokens`` count the cached ones too. Tokens of reasoning are in the total only."""
_EDITS = {"write_file", "replace"}
_GIVEN_UP = ("loop detected", "agent execution blocked")
_EXITED = "Command exited with code: "
"""What stands for the output of a command that failed and printed nothing; its status is "success"."""
_NO_AUTH, _BAD_INPUT = 41, 42
_KEY_ADVICE = "give the run a valid GEMINI_API_KEY in `env` or `secrets`"
_KEY_TROUBLE = re.compile(r'"code": ?40[13]\b|api.key|UNAUTHENTICATED', re.IGNORECASE)


_UNKNOWN = re.compile(rb"Error resuming session: [^\n]*")
_PAUSE_SECONDS = 1.0
"""It waits at least so long before it asks for an answer again that broke off, and tells nothing of it."""


class GeminiReader(JsonTurn):
    """What one turn said, how it ended, and what it used."""

    program: ClassVar = "gemini"

    def __init__(self, *, resumes: bool = False, may_write: bool = True) -> None:
        super().__init__(may_write=may_write)
        self._spoke_at: float | None = None
        """Of the piece of an answer before this one: seconds, on its clock."""
        self._resumes = resumes
        self._begun: str | None = None
        self._final = LastMessage()
        self._said: str | None = None
        self._given_up: str | None = None
        self._result: dict[str, Any] | None = None

    @property
    def asked_model(self) -> bool:
        """Its own commands are answered without a model."""
        stats = object_of((self._result or {}).get("stats"))
        return bool(stats.get("total_tokens")) or stats.get("models") != {}

    @property
    def last_error(self) -> str | None:
        """Why it gave up."""
        return self._given_up

    def feed(self, data: bytes) -> None:
        """Take the next bytes; the summary is made once for all the pieces of an answer that are among them."""
        super().feed(data)
        self.summary = self._final.text or self._said

    def take_line(self, line: dict[str, Any]) -> None:
        """Understand one line."""
        kind = text_of(line.get("type"))
        if kind == "init":
            self._begun = valid_id(line.get("session_id"))
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
        """Success takes a ``result`` that says so, no surrender before it, *and* exit code 0."""
        self.summary = self._final.text or self._said
        if self._result is not None and self._result.get("status") != "success":
            return Verdict.failed(Reason.AGENT_ERROR, self._complaint(self._result))
        if self._given_up is not None:
            return Verdict.failed(Reason.AGENT_ERROR, plain_text(self._given_up))
        if self._begun is None and exit_code == _BAD_INPUT and self._resumes and _UNKNOWN.search(self.stderr):
            return Verdict.failed(Reason.CANNOT_RESUME, "gemini has no conversation of that id in this workspace")
        if exit_code == _NO_AUTH:
            return Verdict.failed(Reason.AGENT_ERROR, f"gemini found no way to authenticate: {_KEY_ADVICE}")
        by_code = exit_verdict("gemini", exit_code)
        if by_code.success and self._result is None:
            return Verdict.failed(Reason.AGENT_ERROR, "gemini ended without a result line: its turn is not complete")
        return by_code

    def _take_message(self, line: dict[str, Any]) -> None:
        self.agent_session_id = self._begun
        if line.get("role") != "assistant":
            return
        text = text_of(line.get("content"))
        now = _seconds(line.get("timestamp"))
        if now is not None and self._spoke_at is not None and now - self._spoke_at >= _PAUSE_SECONDS:
            text = f"\n\n{text}"  # perhaps the same answer, once more
        self._spoke_at = now
        self.transcript.add_text(text)
        self._final.add(text)

    def _take_call(self, line: dict[str, Any]) -> None:
        self._spoke_at = None
        name, given = text_of(line.get("tool_name")), object_of(line.get("parameters"))
        path = given.get("file_path")
        paths = [path] if name in _EDITS and isinstance(path, str) else []
        self.transcript.begin_call(text_of(line.get("tool_id")), name, given, paths=paths)
        self._said = self._final.text or self._said
        self._final.end()

    def _take_result(self, line: dict[str, Any]) -> None:
        said = text_of(line.get("output")) or text_of(object_of(line.get("error")).get("message"))
        failed = line.get("status") != "success" or said.startswith(_EXITED)
        self.transcript.end_call(text_of(line.get("tool_id")), said, failed=failed)

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
        if (thought := counts.get("all", 0.0) - counts.get("sent", 0.0) - counts.get("received", 0.0)) > 0:
            self.usage = {**self.usage, used.REASONING: thought}
        said = text_of(object_of(result.get("error")).get("message"))
        if said:
            self.transcript.add_error(self._complaint(result) or "")

    def _complaint(self, result: dict[str, Any]) -> str | None:
        said = text_of(object_of(result.get("error")).get("message")) or self._given_up
        text = (said or f"gemini reports the status {result.get('status')}").rstrip(". ")
        if _KEY_TROUBLE.search(text):
            text = f"{text}: {_KEY_ADVICE}"
        return plain_text(text)


def _seconds(timestamp: object) -> float | None:
    try:
        return datetime.fromisoformat(text_of(timestamp)).timestamp()
    except (ValueError, OverflowError):
        return None
