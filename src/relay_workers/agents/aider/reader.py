"""Reads what aider prints for people with ``--no-pretty`` (tried with 0.86.2).

It has no protocol. A turn prints a head up to ``Repo-map:``, then for each answer of the model its words as they come,
a line ``Tokens: …``, and what was done with it: ``Applied edit to …``, ``Commit …``. An answer that could not be
carried out is reported at length and asked for again. What the words do not say:

- An error of the model is a line ``litellm.…`` and exit code 0. After some it tries again ("Retrying in").
- A turn that ran out of tries ("Only 3 reflections allowed") ends with exit code 0, too.
- A stream that breaks off leaves the error behind the words that came, on one line.
- What it asks and answers itself ("Add file to the chat?") leaves only a path on a line of its own.
- Its file of the conversation is there before the prompt is in it: an id counts once the model has answered, or
  refused to.
"""

import re
from collections.abc import Sequence
from typing import ClassVar

from relay_core.domain.agents.conversation import EntryKind
from relay_core.domain.vocabulary import Reason
from relay_workers.agents.aider.answer import AiderAnswer, tokens
from relay_workers.agents.port import Verdict, exit_verdict
from relay_workers.agents.shared.plain_text import plain_text
from relay_workers.agents.shared.text_lines import TextLines
from relay_workers.agents.shared.turn_rules import AgentTurn
from relay_workers.agents.shared.usage import total

NO_SUCH_CONVERSATION = 66
"""Exit code of the executor's script where there is nothing to resume (EX_NOINPUT)."""
MAX_HELD = 500
"""Lines after an answer that are kept until it is known what they are."""
_ADVICE = "give the run a valid key of the model's provider (OPENAI_API_KEY, …) in `env` or `secrets`"
_BEGUN = re.compile(r"Conversation ([0-9a-f-]{36})")
_HEAD = re.compile(r"Added .* to the chat|Restored previous conversation history|Note: |Cur working dir: ")
_EDITED = re.compile(r"Applied edit to (.+)")
_COMMIT = re.compile(r"Commit [0-9a-f]{7,40} ")
_ERROR = re.compile(r"litellm\.\w+: |Model .{1,300} has hit a token limit!")
_GLUED = re.compile(r"(?<=.)litellm\.\w*(?:Error|Timeout|Exception)\w*: ")
"""An error behind words of the answer."""
_EXPLAINED = re.compile(r"The API provider(?:'s| has| is| timed)\b")
"""What it says of an error, on the next line."""
_REPORT_BEGINS = "The LLM did not conform to the edit format."
_NO_MATCH = re.compile(r"# \d+ SEARCH/REPLACE blocks? failed to match|The LLM did not conform to the edit format")
_RETRIED = "Retrying in "
_GIVEN_UP = re.compile(r"Only \d+ reflections allowed")
_KEY = re.compile(r"AuthenticationError|PermissionDenied|\b40[13]\b|api[ _]key", re.IGNORECASE)
_REPORT_ENDS = re.compile(r".*docstrings, etc$|Just reply with fixed versions of")
_PATH = re.compile(r"[^\s./]*[./][^\s.]\S*")


class AiderReader(AgentTurn):
    """What one turn said, how it ended, and what it used."""

    program: ClassVar = "aider"

    def __init__(self, *, may_write: bool = True) -> None:
        super().__init__(may_write=may_write)
        self._begun: str | None = None
        self._lines = TextLines()
        self._take = self._take_first
        self._answer = AiderAnswer()
        self._answers = 0
        self._held: list[str] = []
        self._edits: list[str] = []
        self._error: str | None = None
        self._given_up: str | None = None
        self._glued: str | None = None
        """A line whose end is an error if nothing more is said, and words otherwise."""
        self._failed_edit: str | None = None

    @property
    def last_error(self) -> str | None:
        """The model's last error, if nothing good came after it; or that it gave up."""
        return self._error or self._given_up

    @property
    def failed_edit(self) -> str | None:
        """What aider said of an edit that failed, where none went well."""
        return None if self._edits else self._failed_edit

    @property
    def summary(self) -> str | None:
        """The last answer, without the blocks that became edits; where it has no other words, what was edited."""
        edited = ", ".join(dict.fromkeys(self._edits))
        return plain_text(self._answer.text(without_edits=bool(edited))) or plain_text(edited and f"Edited {edited}")

    def feed(self, data: bytes) -> None:
        """Take the next bytes."""
        for line in self._lines.feed(data):
            self._take_line(line)

    def _read_to_end(self) -> None:
        for line in self._lines.finish():
            self._take_line(line)
        self._settle_glued("")
        self._flush(EntryKind.NOTICE, self._held)
        self._held = []

    def judge(self, exit_code: int | None) -> Verdict:
        """Success takes an answer of the model, no error or surrender after it, *and* exit code 0."""
        if exit_code == NO_SUCH_CONVERSATION and self._begun is None:
            return Verdict.failed(Reason.CANNOT_RESUME, "aider has no conversation of that id in this workspace")
        if self._error is not None:
            advice = f": {_ADVICE}" if _KEY.search(self._error) else ""
            return Verdict.failed(Reason.AGENT_ERROR, plain_text(self._error + advice))
        if self._given_up is not None:
            return Verdict.failed(
                Reason.AGENT_ERROR, plain_text(f"aider could not edit as the model said. {self._given_up}")
            )
        by_code = exit_verdict("aider", exit_code)
        if by_code.success and not self._answers:
            return Verdict.failed(Reason.AGENT_ERROR, "aider ended without an answer of the model: see its output")
        return by_code

    def _take_line(self, line: str) -> None:
        self._settle_glued(line)
        self._take(line)

    def _settle_glued(self, after: str) -> None:
        """The line after it tells what it was."""
        line, self._glued = self._glued, None
        if line is None:
            return
        found = _GLUED.search(line)
        if found is not None and (not after.strip() or after.startswith(_RETRIED) or _EXPLAINED.match(after)):
            self._keep(line[: found.start()])
            self._take_event(line[found.start() :])
        else:
            self._keep(line)

    def _keep(self, line: str) -> None:
        if self._take == self._take_words:
            self._say(line)
        elif len(self._held) < MAX_HELD:
            self._held.append(line)

    def _take_first(self, line: str) -> None:
        """The script's line before anything of aider's."""
        if begun := _BEGUN.fullmatch(line):
            self._begun = begun[1]
        self._take = self._take_head

    def _take_head(self, line: str) -> None:
        if line.startswith("Repo-map: "):
            self._take = self._take_words
        else:
            self._take_event(line)

    def _take_words(self, line: str) -> None:
        """Of the first answer, as they come."""
        own = not self._answer.in_block or _ERROR.match(line) is not None
        if self._end_of_answer(line) or (own and self._take_event(line)):
            return
        if line == _REPORT_BEGINS and self._answer.begun:  # an answer that broke off has no end of its own
            self.transcript.add_message("")
            self._take, self._failed_edit = self._take_after, line
            self._held.append(line)
            return
        if not self._answer.begun:
            if not line.strip() or _HEAD.match(line):
                return
            if _PATH.fullmatch(line):  # what it asked itself about; or the answer's first line, if a block follows
                self._answer.title = line
                return
        if _GLUED.search(line):
            self._glued = line
        else:
            self._say(line)

    def _say(self, line: str) -> None:
        for each in self._answer.add(line):
            self.transcript.add_text(f"{each}\n")
        self.agent_session_id = self._begun

    def _take_after(self, line: str) -> None:
        """What was done with an answer, or a report, or the next answer."""
        if self._end_of_answer(line) or self._take_event(line):
            return
        if _GLUED.search(line):
            self._glued = line
        else:
            self._keep(line)

    def _end_of_answer(self, line: str) -> bool:
        used = tokens(line)
        if used is None:
            return False
        self.agent_session_id = self._begun
        for title in self._answer.only_title():
            self.transcript.add_text(f"{title}\n")
        cost = used.pop("cost_usd", None)
        self.usage = total(self.usage, used) | ({} if cost is None else {"cost_usd": cost})
        if self._take == self._take_after:
            ends = [index for index, held in enumerate(self._held) if _REPORT_ENDS.match(held)]
            start = ends[-1] + 1 if ends else 0
            self._flush(EntryKind.NOTICE, self._held[:start])
            self._answer = AiderAnswer(self._held[start:])
            self._flush(EntryKind.ASSISTANT, self._held[start:])
        self.transcript.add_message("")
        self._error = None  # a request that failed has no such line: what looked like an error was said by the model
        self._answers += 1
        self._held = []
        self._take = self._take_after
        return True

    def _take_event(self, line: str) -> bool:
        """Whether it is a line of aider's own that tells of something."""
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
            self.agent_session_id = self._begun
            self.transcript.add_error(line)
        elif self._error is not None and _EXPLAINED.match(line):
            self.transcript.add_message(line, kind=EntryKind.NOTICE)
        elif line.startswith(_RETRIED):
            self._error, self._answer = None, AiderAnswer()
            self.transcript.add_message(line, kind=EntryKind.NOTICE)
        elif _GIVEN_UP.match(line):
            self._given_up = plain_text(line)
            self.transcript.add_error(line)
        elif self._take == self._take_after and _NO_MATCH.match(line):
            self._failed_edit = line
            return False  # the report goes on
        else:
            return False
        return True

    def _flush(self, kind: EntryKind, lines: Sequence[str]) -> None:
        if kind is EntryKind.NOTICE:
            lines = [line for line in lines if not _PATH.fullmatch(line)]  # files that it asked itself about
        self.transcript.add_message("\n".join(lines).strip(), kind=kind)
