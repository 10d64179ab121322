"""Reads the text that aider prints with ``--no-pretty`` (tried with 0.86.2).

The output is text for people, not a protocol. aider prints a head up to ``Repo-map:``. Then it prints, for each answer
of the model, the text while it streams, a line ``Tokens: …``, and the effects: ``Applied edit to …``, ``Commit …``. If
aider cannot apply an edit of the answer, it prints a long report and asks the model again. Behaviour that the text does
not show:

- An error of the model is a line ``litellm.…``; aider then exits with code 0. After some errors it tries again
  ("Retrying in").
- A turn that ran out of tries ("Only 3 reflections allowed") also ends with exit code 0.
- If a stream breaks off, the error follows the text on the same line.
- A question that aider answers itself ("Add file to the chat?") leaves only a path on a line of its own.
- aider creates the file of a conversation before it stores the prompt there. So the reader accepts the id of a
  conversation only after an answer or an error of the model.
"""

import re
from collections.abc import Sequence
from typing import ClassVar

from relay_core.domain.agents.conversation import EntryKind
from relay_core.domain.vocabulary import Reason
from relay_workers.agents.aider.answer import AiderAnswer, tokens
from relay_workers.agents.port import Verdict, exit_code_verdict
from relay_workers.agents.shared.agent_reader import AgentReader
from relay_workers.agents.shared.plain_text import plain_text
from relay_workers.agents.shared.provider_key import with_key_advice
from relay_workers.agents.shared.text_lines import TextLines
from relay_workers.agents.shared.usage import total

NO_SUCH_CONVERSATION = 66
"""Exit code of the executor's script if the conversation to resume does not exist (EX_NOINPUT)."""
MAX_HELD = 500
"""Maximum number of lines kept after an answer until the reader knows whether they are a report or the next answer."""
_SCRIPT_LINE = re.compile(r"Conversation ([0-9a-f-]{36})")
_HEAD = re.compile(r"Added .* to the chat|Restored previous conversation history|Note: |Cur working dir: ")
_EDITED = re.compile(r"Applied edit to (.+)")
_COMMIT = re.compile(r"Commit [0-9a-f]{7,40} ")
_ERROR = re.compile(r"litellm\.\w+: |Model .{1,300} has hit a token limit!")
_ERROR_AFTER_TEXT = re.compile(r"(?<=.)litellm\.\w*(?:Error|Timeout|Exception)\w*: ")
"""Matches an error that follows text of the answer on the same line."""
_EXPLAINED = re.compile(r"The API provider(?:'s| has| is| timed)\b")
"""Matches aider's explanation of an error, on the line after the error."""
_REPORT_BEGINS = "The LLM did not conform to the edit format."
_NO_MATCH = re.compile(r"# \d+ SEARCH/REPLACE blocks? failed to match|The LLM did not conform to the edit format")
_RETRIED = "Retrying in "
_GIVEN_UP = re.compile(r"Only \d+ reflections allowed")
_REPORT_ENDS = re.compile(r".*docstrings, etc$|Just reply with fixed versions of")
_PATH = re.compile(r"[^\s./]*[./][^\s.]\S*")


class AiderReader(AgentReader[str]):
    """Reads the output of one turn. The reader is a state machine: `_take` is the method that handles the next line.

    The states are `_take_script_line` (the line printed before aider starts) → `_take_head` (up to ``Repo-map:``) →
    `_take_first_answer` → `_take_effects` (effects, reports and further answers).
    """

    program: ClassVar = "aider"

    def __init__(self, *, may_write: bool = True) -> None:
        super().__init__(TextLines(), may_write=may_write)
        self._conversation_id: str | None = None
        """Id of the conversation, as the script printed it."""
        self._take = self._take_script_line
        self._answer = AiderAnswer()
        self._answers = 0
        self._held: list[str] = []
        self._edits: list[str] = []
        self._error: str | None = None
        self._given_up: str | None = None
        self._undecided_line: str | None = None
        """A line with an error message at its end, held until the next line; None if no line is held.

        The next line shows whether the message is an error of the model or a part of the answer.
        """
        self._failed_edit: str | None = None

    @property
    def last_error(self) -> str | None:
        """The model's last error if no answer followed it, or aider's message that it gave up; otherwise None."""
        return self._error or self._given_up

    @property
    def failed_edit(self) -> str | None:
        """The first line of aider's report of a failed edit, if no edit of the turn succeeded; otherwise None."""
        return None if self._edits else self._failed_edit

    @property
    def summary(self) -> str | None:
        """The last answer (without fenced blocks if files were edited); if it is empty, the names of edited files."""
        edited = ", ".join(dict.fromkeys(self._edits))
        return plain_text(self._answer.text(without_edits=bool(edited))) or plain_text(edited and f"Edited {edited}")

    def _read_to_end(self) -> None:
        super()._read_to_end()
        self._settle_undecided("")
        self._flush(EntryKind.NOTICE, self._held)
        self._held = []

    def judge(self, exit_code: int | None) -> Verdict:
        """Return the verdict; a success needs an answer of the model, no later error *and* exit code 0."""
        if exit_code == NO_SUCH_CONVERSATION and self._conversation_id is None:
            return Verdict.failed(Reason.CANNOT_RESUME, "aider has no conversation of that id in this workspace")
        if self._error is not None:
            return Verdict.failed(Reason.AGENT_ERROR, plain_text(with_key_advice(self._error)))
        if self._given_up is not None:
            return Verdict.failed(
                Reason.AGENT_ERROR, plain_text(f"aider could not edit as the model said. {self._given_up}")
            )
        by_code = exit_code_verdict("aider", exit_code)
        if by_code.success and not self._answers:
            return Verdict.failed(Reason.AGENT_ERROR, "aider ended without an answer of the model: see its output")
        return by_code

    def _take_line(self, line: str) -> None:
        self._settle_undecided(line)
        self._take(line)

    def _settle_undecided(self, after: str) -> None:
        """Decide whether the held line ends with an error or is text of the answer, and handle it.

        Args:
            after: the line after the held line; empty at the end of the output.
        """
        line, self._undecided_line = self._undecided_line, None
        if line is None:
            return
        found = _ERROR_AFTER_TEXT.search(line)
        if found is not None and (not after.strip() or after.startswith(_RETRIED) or _EXPLAINED.match(after)):
            self._keep(line[: found.start()])
            self._take_event(line[found.start() :])
        else:
            self._keep(line)

    def _keep(self, line: str) -> None:
        if self._take == self._take_first_answer:
            self._say(line)
        elif len(self._held) < MAX_HELD:
            self._held.append(line)

    def _take_script_line(self, line: str) -> None:
        """Handle the line that the executor's script prints before it starts aider."""
        if found := _SCRIPT_LINE.fullmatch(line):
            self._conversation_id = found[1]
        self._take = self._take_head

    def _take_head(self, line: str) -> None:
        if line.startswith("Repo-map: "):
            self._take = self._take_first_answer
        else:
            self._take_event(line)

    def _take_first_answer(self, line: str) -> None:
        """Handle a line of the first answer, or a line that ends the answer."""
        own = not self._answer.in_block or _ERROR.match(line) is not None
        if self._end_of_answer(line) or (own and self._take_event(line)):
            return
        if line == _REPORT_BEGINS and self._answer.begun:  # the answer broke off, so no line of tokens follows it
            self._take, self._failed_edit = self._take_effects, line
            self._held.append(line)
            return
        if not self._answer.begun:
            if not line.strip() or _HEAD.match(line):
                return
            if _PATH.fullmatch(line):  # left by a question that aider answered itself, or the answer's first line
                self._answer.title = line
                return
        if _ERROR_AFTER_TEXT.search(line):
            self._undecided_line = line
        else:
            self._say(line)

    def _say(self, line: str) -> None:
        for added in self._answer.add(line):
            self.transcript.add_text(f"{added}\n")
        self.agent_session_id = self._conversation_id

    def _take_effects(self, line: str) -> None:
        """Handle a line after the first answer: an effect, a part of a report, or a part of the next answer."""
        if self._end_of_answer(line) or self._take_event(line):
            return
        if _ERROR_AFTER_TEXT.search(line):
            self._undecided_line = line
        else:
            self._keep(line)

    def _end_of_answer(self, line: str) -> bool:
        used = tokens(line)
        if used is None:
            return False
        self.agent_session_id = self._conversation_id
        for title in self._answer.only_title():
            self.transcript.add_text(f"{title}\n")
        cost = used.pop("cost_usd", None)
        self.usage = total(self.usage, used) | ({} if cost is None else {"cost_usd": cost})
        if self._take == self._take_effects:
            ends = [index for index, held in enumerate(self._held) if _REPORT_ENDS.match(held)]
            start = ends[-1] + 1 if ends else 0
            self._flush(EntryKind.NOTICE, self._held[:start])
            self._answer = AiderAnswer(self._held[start:])
            self._flush(EntryKind.ASSISTANT, self._held[start:])
        # A failed request has no line of tokens. So a line that looked like an error was text of the answer.
        self._error = None
        self._answers += 1
        self._held = []
        self._take = self._take_effects
        return True

    def _take_event(self, line: str) -> bool:
        """Handle a line that reports an edit, a commit, an error or a retry; return False for other lines."""
        if edited := _EDITED.fullmatch(line):
            self._edits.append(edited[1])
            self._failed_edit = None
            call_id = f"edit{len(self._edits)}"
            self.transcript.begin_call(call_id, "edit", "", paths=[edited[1]])
            self.transcript.end_call(call_id, line)
        elif _COMMIT.match(line):
            self.transcript.add_message(line, kind=EntryKind.NOTICE)
        elif _ERROR.match(line):
            self._error, self._answer.in_block = plain_text(line), False
            self.agent_session_id = self._conversation_id
            self.transcript.add_error(line)
        elif self._error is not None and _EXPLAINED.match(line):
            self.transcript.add_message(line, kind=EntryKind.NOTICE)
        elif line.startswith(_RETRIED):
            self._error, self._answer = None, AiderAnswer()
            self.transcript.add_message(line, kind=EntryKind.NOTICE)
        elif _GIVEN_UP.match(line):
            self._given_up = plain_text(line)
            self.transcript.add_error(line)
        elif self._take == self._take_effects and _NO_MATCH.match(line):
            self._failed_edit = line
            return False  # the line belongs to a report
        else:
            return False
        return True

    def _flush(self, kind: EntryKind, lines: Sequence[str]) -> None:
        if kind is EntryKind.NOTICE:
            lines = [line for line in lines if not _PATH.fullmatch(line)]  # left by questions that aider answered
        self.transcript.add_message("\n".join(lines).strip(), kind=kind)
