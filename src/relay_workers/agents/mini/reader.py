"""Reads the text that mini-swe-agent prints (tried with 2.4.6), and the line that the executor's script adds.

The output consists of blocks, each after a head line. The head line shows the content of the block:

- ``mini-swe-agent (step 1, $0.00):``: the model's text, and its commands as fenced blocks;
- ``Tool:``: the result of a command;
- ``User:``: mini's reply to an answer that it cannot use;
- ``Exit:``: the last message.

Lines of ``─`` separate the steps. Only the script's line contains how the turn ended: mini exits with code 0 even if it
reached a limit.
"""

import json
import re
from typing import ClassVar

from relay_core.domain.agents.conversation import EntryKind
from relay_core.domain.vocabulary import Reason
from relay_workers.agents.port import Verdict, exit_code_verdict
from relay_workers.agents.shared.agent_reader import AgentReader
from relay_workers.agents.shared.json_reader import numbers, object_of, text_of
from relay_workers.agents.shared.plain_text import plain_text
from relay_workers.agents.shared.provider_key import with_key_advice
from relay_workers.agents.shared.text_lines import TextLines
from relay_workers.agents.shared.usage import CACHED, REASONING, disjoint

MAX_BLOCK_CHARACTERS = 1 << 20
"""Number of characters kept of a block."""
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


class MiniReader(AgentReader[str]):
    """Reads the output of one turn: messages, commands with their results, the exit status and the usage."""

    program: ClassVar = "mini"
    must_speak: ClassVar = False
    """A turn is a success once the agent has submitted its work, even if it wrote no message."""

    def __init__(self) -> None:
        super().__init__(TextLines())
        self._head = ""
        self._block: list[str] = []
        self._room = MAX_BLOCK_CHARACTERS
        self._prompted = False
        self._calls = 0
        self._open_calls: list[str] = []
        self._message: str | None = None
        """Text of the model's last answer."""
        self._exit_message: str | None = None
        """Text of the block ``Exit:``: the submission, or the error that ended the turn."""
        self._end: dict[str, object] = {}
        """The exit status and usage from the last line of the script; empty until that line was read."""

    @property
    def summary(self) -> str | None:
        """The text that the agent submitted; without one, the text of the model's last answer, or None."""
        submitted = self._end.get("exit_status") == "Submitted"
        return (self._exit_message if submitted else None) or self._message

    def _read_to_end(self) -> None:
        super()._read_to_end()
        self._close_block()

    def judge(self, exit_code: int | None) -> Verdict:
        """Return the verdict; a success needs the exit status "Submitted" *and* exit code 0."""
        status = text_of(self._end.get("exit_status"))
        if self._exit_message and status == "Submitted":
            self.transcript.add_message(self._exit_message)
        by_code = exit_code_verdict("mini", exit_code)
        if status == "Submitted" or (not status and not by_code.success):
            return by_code
        if not status:
            return Verdict.failed(Reason.AGENT_ERROR, "mini ended without saying how: its turn is not complete")
        error = self._exit_message or "mini gives no explanation"
        error = error if status in error else f"{status}: {error}"
        return Verdict.failed(Reason.AGENT_ERROR, plain_text(with_key_advice(error)))

    def _take_line(self, line: str) -> None:
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
            self._end = object_of(json.loads(line).get("mini"))
        except (ValueError, RecursionError):
            return
        self.usage = disjoint(numbers(self._end, _USAGE), input_has=[CACHED], output_has=[REASONING])

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
            self._exit_message = None if text.startswith("Saved trajectory to ") else plain_text(text)

    def _take_answer(self, text: str) -> None:
        message, commands = _split_answer(text)
        self.transcript.add_message(message)
        self._message = plain_text(message) or self._message
        for command in commands:
            self._calls += 1
            self._open_calls.append(f"call{self._calls}")
            self.transcript.begin_call(self._open_calls[-1], "bash", {"command": command})

    def _take_user(self, text: str) -> None:
        if self._prompted:
            self.transcript.add_message(text, kind=EntryKind.NOTICE)
        self._prompted = True  # the first block is the prompt, inside of mini's long instructions

    def _take_result(self, text: str) -> None:
        if not self._open_calls:
            return
        code = _RETURN_CODE.match(text)
        submits = _NOT_RUN in text  # mini does not run the command with which the model submits its work
        failed = code is not None and code[1] != "0" and not submits
        self.transcript.end_call(self._open_calls.pop(0), _SUBMITTED if submits else text, failed=failed)


def _split_answer(text: str) -> tuple[str, list[str]]:
    """Split an answer of the model; return its text and the commands in the fenced blocks at its end."""
    commands: list[str] = []
    text = f"\n{text.rstrip()}"
    while text.endswith("\n```"):
        start = text.rfind("\n```\n", 0, -4)
        if start < 0:
            break
        commands.insert(0, text[start + 5 : -4])
        text = text[:start].rstrip()
    return text.strip(), commands
