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
from typing import Any

from relay_core.domain.conversation import EntryKind
from relay_core.domain.vocabulary import Reason
from relay_workers.executors.json_turn import JsonTurn, an_id, numbers, object_of, text_of
from relay_workers.executors.port import Verdict, exit_verdict
from relay_workers.executors.words import LastWords, words

_USAGE = {
    "input": "input_tokens",
    "output_tokens": "output_tokens",
    "cached": "cache_read_input_tokens",
    "duration_ms": "duration_ms",
}
"""Its own ``input_tokens`` count the cached ones too."""
_EDITS = {"write_file", "replace"}
_GIVEN_UP = ("loop detected", "agent execution blocked")
_EXITED = "Command exited with code: "
"""What stands for the output of a command that failed and printed nothing; its status is "success"."""
_NO_AUTH, _BAD_INPUT = 41, 42
_KEY_ADVICE = "give the run a valid GEMINI_API_KEY in `env` or `secrets`"
_KEY_TROUBLE = re.compile(r'"code": ?40[13]\b|api.key|UNAUTHENTICATED', re.IGNORECASE)


class GeminiReader(JsonTurn):
    """What one turn said, how it ended, and what it used."""

    def __init__(self, *, resumes: bool = False) -> None:
        super().__init__()
        self._resumes = resumes
        self._begun: str | None = None
        self._final = LastWords()
        self._said: str | None = None
        self._given_up: str | None = None
        self._result: dict[str, Any] | None = None

    def feed(self, data: bytes) -> None:
        """Take the next bytes; the summary is made once for all the pieces of an answer that are among them."""
        super().feed(data)
        self.summary = self._final.words or self._said

    def take_line(self, line: dict[str, Any]) -> None:
        """Understand one line."""
        kind = text_of(line.get("type"))
        if kind == "init":
            self._begun = an_id(line.get("session_id"))
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
        self.summary = self._final.words or self._said
        if self._result is not None and self._result.get("status") != "success":
            return Verdict.failed(Reason.AGENT_ERROR, self._complaint(self._result))
        if self._given_up is not None:
            return Verdict.failed(Reason.AGENT_ERROR, words(self._given_up))
        if self._begun is None and exit_code == _BAD_INPUT and self._resumes:
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
        self.transcript.stream(text)
        self._final.add(text)

    def _take_call(self, line: dict[str, Any]) -> None:
        name, given = text_of(line.get("tool_name")), object_of(line.get("parameters"))
        path = given.get("file_path")
        paths = [path] if name in _EDITS and isinstance(path, str) else []
        self.transcript.call(text_of(line.get("tool_id")), name, given, paths=paths)
        self._said = self._final.words or self._said
        self._final.end()

    def _take_result(self, line: dict[str, Any]) -> None:
        said = text_of(line.get("output")) or text_of(object_of(line.get("error")).get("message"))
        failed = line.get("status") != "success" or said.startswith(_EXITED)
        self.transcript.result(text_of(line.get("tool_id")), said, failed=failed)

    def _take_error(self, line: dict[str, Any]) -> None:
        message = text_of(line.get("message"))
        fatal = line.get("severity") == "error" or message.lower().startswith(_GIVEN_UP)
        self.transcript.say(message, kind=EntryKind.ERROR if fatal else EntryKind.NOTICE)
        if fatal:
            self._given_up = message

    def _take_end(self, result: dict[str, Any]) -> None:
        self._result = result
        self.usage = numbers(result.get("stats"), _USAGE)
        said = text_of(object_of(result.get("error")).get("message"))
        if said:
            self.transcript.say(self._complaint(result) or "", kind=EntryKind.ERROR)

    def _complaint(self, result: dict[str, Any]) -> str | None:
        said = text_of(object_of(result.get("error")).get("message")) or self._given_up
        text = (said or f"gemini reports the status {result.get('status')}").rstrip(". ")
        if _KEY_TROUBLE.search(text):
            text = f"{text}: {_KEY_ADVICE}"
        return words(text)
