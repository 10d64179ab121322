"""Reads the JSON lines of ``opencode run --format json`` (tried with 1.18.33).

Each line contains the id of the session. For each request to the model ("step"), opencode prints ``step_start``, then
``text``, ``reasoning`` and ``tool_use``, then ``step_finish``. Behaviour that is not obvious from the names:

- There is no result line: a last ``step_finish`` with the reason "stop" and exit code 0 mean success.
- opencode prints a tool call once, when the call has ended. If a turn is killed during a call, nothing shows the call.
- opencode counts tokens and cost per step: the reader adds them up for the turn.
- If opencode does not know the conversation to resume, it reports this only on standard error.
"""

import re
from typing import Any, ClassVar

from relay_core.domain.agents.conversation import EntryKind
from relay_core.domain.vocabulary import Reason
from relay_workers.agents.port import Verdict, exit_code_verdict
from relay_workers.agents.shared import usage as used
from relay_workers.agents.shared.json_reader import JsonReader, numbers, object_of, text_of, valid_id
from relay_workers.agents.shared.plain_text import plain_text
from relay_workers.agents.shared.resume_failure import resume_failure

_UNKNOWN = re.compile(rb"Session not found[^\n]*")
_GOOD_ENDS = ("stop", "tool-calls")
_TOKENS = {"input": "input_tokens", "output": "output_tokens", "reasoning": "reasoning_tokens"}
_CACHE = {"read": "cache_read_input_tokens", "write": "cache_creation_input_tokens"}
_KEY_ADVICE = "give the run a valid key of the model's provider in `env` or `secrets`"
_EDITS = {"edit", "write", "multiedit", "patch", "apply_patch"}


class OpenCodeReader(JsonReader):
    """Reads the output of one turn: messages, tool calls, the result and the usage.

    Args:
        resumed: id of the conversation that the turn resumes; None for a new one.
        may_write: whether the turn's permission mode allows edits.
    """

    program: ClassVar = "opencode"

    def __init__(self, resumed: str | None = None, *, may_write: bool = True) -> None:
        super().__init__(may_write=may_write)
        self._resumed = resumed
        self._error: str | None = None
        self._stopped: str | None = None
        """The reason with which the current request to the model ended; None while it runs."""
        self._last_stop: str | None = None
        """The reason with which the last finished request to the model ended; None if none has finished."""

    @property
    def last_error(self) -> str | None:
        """The last error that opencode printed; without one, the reason if the model's last answer ended abnormally."""
        if self._error is None and self._last_stop not in {None, *_GOOD_ENDS}:
            return f"the model's last answer ended with {self._last_stop!r}"
        return self._error

    def take_line(self, line: dict[str, Any]) -> None:
        """Handle one JSON object of the output."""
        kind = text_of(line.get("type"))
        part = object_of(line.get("part"))
        self.agent_session_id = valid_id(line.get("sessionID")) or self.agent_session_id
        if kind == "step_start":
            self._stopped = None
        elif kind == "text":
            self.transcript.add_message(text_of(part.get("text")))
            self.summary = plain_text(text_of(part.get("text"))) or self.summary
        elif kind == "reasoning":
            self.transcript.add_message(text_of(part.get("text")), kind=EntryKind.REASONING)
        elif kind == "tool_use":
            self._take_tool(part)
        elif kind == "step_finish":
            self._take_step(part)
        elif kind == "error":
            self._complain(object_of(line.get("error")))

    def judge(self, exit_code: int | None) -> Verdict:
        """Return the verdict; a success needs a last step that ended with "stop", no error *and* exit code 0."""
        if failure := resume_failure(self.program, self._resumed, self.agent_session_id, self.stderr, _UNKNOWN):
            return failure
        if self._error is not None:
            return Verdict.failed(Reason.AGENT_ERROR, self._error)
        by_code = exit_code_verdict(self.program, exit_code)
        if by_code.success and self._stopped != "stop":
            ended = f"its last step ended with {self._stopped!r}" if self._stopped else "its last step did not end"
            return Verdict.failed(Reason.AGENT_ERROR, f"{self.program} did not complete its turn: {ended}")
        return by_code

    def _take_tool(self, part: dict[str, Any]) -> None:
        state = object_of(part.get("state"))
        call_id, name, given = text_of(part.get("callID")), text_of(part.get("tool")), object_of(state.get("input"))
        path = given.get("filePath")
        paths = [path] if name in _EDITS and isinstance(path, str) else []
        self.transcript.begin_call(call_id, name, given, paths=paths)
        code = object_of(state.get("metadata")).get("exit")
        failed = state.get("status") == "error" or code not in (None, 0)
        result = text_of(state.get("error")) or text_of(state.get("output"))
        self.transcript.end_call(call_id, result, failed=failed, exit_code=code)

    def _take_step(self, part: dict[str, Any]) -> None:
        self._stopped = self._last_stop = text_of(part.get("reason"))
        tokens = object_of(part.get("tokens"))
        counts = numbers(tokens, _TOKENS) | numbers(tokens.get("cache"), _CACHE) | numbers(part, {"cost": "cost_usd"})
        self.usage = used.total(self.usage, counts)
        if self._stopped == "stop":
            self.agent_message_id = valid_id(part.get("messageID"))

    def _complain(self, error: dict[str, Any]) -> None:
        data = object_of(error.get("data"))
        text = text_of(data.get("message")) or text_of(error.get("name")) or "an error without a message"
        if data.get("statusCode") in (401, 403):
            text = f"{text.rstrip('. ')}: {_KEY_ADVICE}"
        self._error = plain_text(text)
        self.transcript.add_error(self._error or text)
