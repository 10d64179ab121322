"""Reads the JSON lines of ``claude -p --output-format stream-json --verbose`` (tried with 2.1.329).

A turn prints ``system`` (subtypes ``init``, ``api_retry``, …), ``assistant`` and ``user`` (tool results) lines and ends
with one ``result``. What the words do not say:

- ``result.subtype`` stays "success" when the model's API failed; ``is_error`` tells. A turn ended by a signal has no
  ``result`` at all, and a refusal to start (root, an empty prompt) prints nothing on stdout.
- ``init`` comes before the conversation is saved: killed there, it cannot be resumed (seen in 6 of 6 runs). So an id
  counts only once the model has answered. The ``result`` of a resume that failed carries an id that may be nobody's.
- A message made up by the program for an API error stands in an ``assistant`` line with ``is_api_error_message``.
"""

from collections.abc import Mapping
from typing import Any, TypeGuard

from relay_core.domain.vocabulary import Reason
from relay_workers.executors.json_lines import JsonLines
from relay_workers.executors.port import Verdict, exit_verdict
from relay_workers.executors.words import words

_USAGE = ("input_tokens", "output_tokens", "cache_read_input_tokens", "cache_creation_input_tokens")
_RESULT_USAGE = {"total_cost_usd": "cost_usd", "num_turns": "turns", "duration_ms": "duration_ms"}
_KEY_ADVICE = "give the run a valid ANTHROPIC_API_KEY (or CLAUDE_CODE_OAUTH_TOKEN) in `env`"


class ClaudeReader:
    """What one turn said, how it ended, and what it used."""

    def __init__(self) -> None:
        self._lines = JsonLines()
        self._session_id: str | None = None
        self._message_id: str | None = None
        self._said: str | None = None
        self._error: str | None = None
        self._error_kind: str | None = None
        self._result: dict[str, Any] | None = None

    @property
    def agent_session_id(self) -> str | None:
        """The id, once the model has answered."""
        return self._session_id

    @property
    def agent_message_id(self) -> str | None:
        """The id of the last whole message, once the turn has come to an end."""
        return self._message_id if self._result is not None else None

    @property
    def summary(self) -> str | None:
        """The final text of a turn that succeeded; else the last thing the agent itself said."""
        final = None if self._result is None or _failed(self._result) else self._result.get("result")
        return (words(final) if isinstance(final, str) else None) or self._said

    @property
    def usage(self) -> Mapping[str, float]:
        """Tokens, cost_usd, turns and duration_ms of the turn; empty until it has ended."""
        result = self._result or {}
        tokens = result.get("usage")
        found = {name: tokens.get(name) for name in _USAGE} if isinstance(tokens, dict) else {}
        found |= {ours: result.get(theirs) for theirs, ours in _RESULT_USAGE.items()}
        return {name: float(value) for name, value in found.items() if _is_number(value)}

    def feed(self, data: bytes) -> None:
        """Take the next bytes."""
        for line in self._lines.feed(data):
            self._take(line)

    def verdict(self, exit_code: int | None) -> Verdict:
        """Success takes a ``result`` that says so *and* exit code 0."""
        for line in self._lines.finish():
            self._take(line)
        if self._result is not None and _failed(self._result):
            return Verdict.failed(Reason.AGENT_ERROR, self._complaint(self._result))
        by_code = exit_verdict("claude", exit_code)
        if by_code.success and self._result is None:
            return Verdict.failed(Reason.AGENT_ERROR, "claude ended without a result line: its turn is not complete")
        if not by_code.success and self._error is not None:
            return Verdict.failed(Reason.EXIT_CODE, words(f"{by_code.message}. Its last error: {self._error}"))
        return by_code

    def _take(self, line: dict[str, Any]) -> None:
        kind = line.get("type")
        if kind == "assistant":
            self._remember_session(line)
            self._take_message(line)
        elif kind == "user":
            self._remember_session(line)
        elif kind == "result":
            self._result = line
        elif kind == "system" and line.get("subtype") == "api_retry":
            self._error = words(f"{line.get('error')} (status {line.get('error_status')}), tried again")

    def _remember_session(self, line: dict[str, Any]) -> None:
        session = line.get("session_id")
        if isinstance(session, str) and 0 < len(session) <= 200:
            self._session_id = words(session)

    def _take_message(self, line: dict[str, Any]) -> None:
        text = words("\n".join(_texts(line.get("message"))))
        if line.get("is_api_error_message"):
            kind = line.get("error")
            self._error, self._error_kind = text, kind if isinstance(kind, str) else None
            return
        if line.get("parent_tool_use_id") is not None:  # a subagent's words are not the agent's
            return
        self._error = None
        message_id = line.get("uuid")
        self._message_id = words(message_id) if isinstance(message_id, str) else self._message_id
        self._said = text or self._said

    def _complaint(self, result: dict[str, Any]) -> str | None:
        errors = result.get("errors")
        listed = [str(error) for error in errors] if isinstance(errors, list) else []
        final = result.get("result")
        said = final if isinstance(final, str) and final.strip() else "; ".join(listed) or self._error
        text = str(said or f"claude reports {result.get('subtype')}").rstrip(". ")
        if self._error_kind == "authentication_failed" or result.get("api_error_status") in {401, 403}:
            text = f"{text}: {_KEY_ADVICE}"
        return words(text)


def _failed(result: dict[str, Any]) -> bool:
    return result.get("is_error") is not False or result.get("subtype") != "success"


def _texts(message: object) -> list[str]:
    content = message.get("content") if isinstance(message, dict) else None
    blocks = content if isinstance(content, list) else []
    texts = [block.get("text") for block in blocks if isinstance(block, dict) and block.get("type") == "text"]
    return [text for text in texts if isinstance(text, str)]


def _is_number(value: Any) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e15
