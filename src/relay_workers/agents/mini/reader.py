"""Reads what mini-swe-agent prints for people (tried with 2.4.6), and the line that the executor's script adds.

Blocks with a head line: ``mini-swe-agent (step 1, $0.00):`` with the model's words and the commands as fenced blocks,
``Tool:`` with each result, ``User:`` where the model's answer was no use, ``Exit:`` with the last words. Rules part the
steps. How the turn ended is in the trajectory alone; its exit code is 0 also where it reached a limit.
"""

import json
import re
from typing import ClassVar

from relay_core.domain.agents.conversation import EntryKind
from relay_core.domain.vocabulary import Reason
from relay_workers.agents.port import Verdict, exit_verdict
from relay_workers.agents.shared.json_turn import numbers, object_of, text_of
from relay_workers.agents.shared.plain_text import plain_text
from relay_workers.agents.shared.text_lines import TextLines
from relay_workers.agents.shared.turn_rules import AgentTurn
from relay_workers.agents.shared.usage import CACHED, REASONING, disjoint

MAX_BLOCK_CHARACTERS = 1 << 20
"""Kept of a block."""
_HEAD = re.compile(r"mini-swe-agent \(step \d+, \$[\d.]+\):|(System|User|Tool|Exit):$")
_RULE = re.compile("─{20,}$")
_END = '{"mini": {'
_RETURN_CODE = re.compile(r"<returncode>\n(-?\d+)\n")
_NOT_RUN = "action was not executed"
_SUBMITTED = "The work was submitted."
_USAGE = {
    "prompt_tokens": "input_tokens",
    "completion_tokens": "output_tokens",
    "cached_tokens": "cache_read_input_tokens",
    "reasoning_tokens": "reasoning_tokens",
    "instance_cost": "cost_usd",
    "api_calls": "turns",
}
_KEY = re.compile(r"AuthenticationError|PermissionDenied|\b40[13]\b|api[ _]key", re.IGNORECASE)
_ADVICE = "give the run a valid key of the model's provider (OPENAI_API_KEY, …) in `env` or `secrets`"


class MiniReader(AgentTurn):
    """What one turn said, how it ended, and what it used."""

    program: ClassVar = "mini"
    must_speak: ClassVar = False
    """A submission says that it is done, with words or without."""

    def __init__(self) -> None:
        super().__init__()
        self._lines = TextLines()
        self._head = ""
        self._block: list[str] = []
        self._room = MAX_BLOCK_CHARACTERS
        self._asked = False
        self._calls = 0
        self._open: list[str] = []
        self._said: str | None = None
        self._last: str | None = None
        self._ended: dict[str, object] = {}

    @property
    def summary(self) -> str | None:
        """What it submitted, or the last that it said."""
        submitted = self._ended.get("exit_status") == "Submitted"
        return (self._last if submitted else None) or self._said

    def feed(self, data: bytes) -> None:
        """Take the next bytes."""
        for line in self._lines.feed(data):
            self._take(line)

    def _read_to_end(self) -> None:
        for line in self._lines.finish():
            self._take(line)
        self._close_block()

    def judge(self, exit_code: int | None) -> Verdict:
        """Success takes a submission *and* exit code 0."""
        if self._last and text_of(self._ended.get("exit_status")) == "Submitted":
            self.transcript.add_message(self._last)
        status = text_of(self._ended.get("exit_status"))
        by_code = exit_verdict("mini", exit_code)
        if status == "Submitted" or (not status and not by_code.success):
            return by_code
        if not status:
            return Verdict.failed(Reason.AGENT_ERROR, "mini ended without saying how: its turn is not complete")
        said = self._last if self._last and status in self._last else f"{status}: {self._last or 'no more is said'}"
        return Verdict.failed(Reason.AGENT_ERROR, plain_text(f"{said}: {_ADVICE}" if _KEY.search(said) else said))

    def _take(self, line: str) -> None:
        if line.startswith(_END):
            self._take_end(line)
        elif _HEAD.match(line) or _RULE.match(line):
            self._close_block()
            self._head = line
        elif self._room > 0:
            self._block.append(line[: self._room])
            self._room -= len(line) + 1

    def _take_end(self, line: str) -> None:
        try:
            self._ended = object_of(json.loads(line).get("mini"))
        except (ValueError, RecursionError):
            return
        self.usage = disjoint(numbers(self._ended, _USAGE), input_has=[CACHED], output_has=[REASONING])

    def _close_block(self) -> None:
        head, text = self._head, "\n".join(self._block).strip("\n")
        self._head, self._block, self._room = "", [], MAX_BLOCK_CHARACTERS
        if head.startswith("mini-swe-agent"):
            self._take_answer(text)
        elif head == "Tool:":
            self._take_result(text)
        elif head == "User:":
            self._take_user(text)
        elif head == "Exit:":
            text = text.partition("\nSaved trajectory to ")[0]
            self._last = None if text.startswith("Saved trajectory to ") else plain_text(text)

    def _take_answer(self, text: str) -> None:
        spoken, commands = _actions(text)
        self.transcript.add_message(spoken)
        self._said = plain_text(spoken) or self._said
        for command in commands:
            self._calls += 1
            self._open.append(f"call{self._calls}")
            self.transcript.begin_call(self._open[-1], "bash", {"command": command})

    def _take_user(self, text: str) -> None:
        if self._asked:
            self.transcript.add_message(text, kind=EntryKind.NOTICE)
        self._asked = True  # the first is the prompt in its long wrapping

    def _take_result(self, text: str) -> None:
        if not self._open:
            return
        code = _RETURN_CODE.match(text)
        submits = _NOT_RUN in text  # the command that says that it is done is not run, but taken as its last words
        failed = code is not None and code[1] != "0" and not submits
        self.transcript.end_call(self._open.pop(0), _SUBMITTED if submits else text, failed=failed)


def _actions(text: str) -> tuple[str, list[str]]:
    """The words of an answer, and the commands in the fenced blocks at its end."""
    commands: list[str] = []
    text = f"\n{text.rstrip()}"
    while text.endswith("\n```"):
        start = text.rfind("\n```\n", 0, -4)
        if start < 0:
            break
        commands.insert(0, text[start + 5 : -4])
        text = text[:start].rstrip()
    return text.strip(), commands
