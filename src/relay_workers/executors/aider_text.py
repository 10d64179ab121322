"""Reads what aider prints for people with ``--no-pretty`` (tried with 0.86.2).

It has no protocol. A turn prints a head up to ``Repo-map:``, then for each answer of the model its words as they come,
a line ``Tokens: …``, and what was done with it: ``Applied edit to …``, ``Commit …``. An answer that could not be
carried out is reported at length and asked for again. What the words do not say:

- An error of the model is a line ``litellm.…`` and exit code 0. After some it tries again ("Retrying in").
- A turn that ran out of tries ("Only 3 reflections allowed") ends with exit code 0, too.
- What it asks and answers itself ("Add file to the chat?") leaves only a path on a line of its own.
"""

import re
from collections.abc import Sequence

from relay_core.domain.conversation import Entry, EntryKind
from relay_core.domain.vocabulary import Reason
from relay_workers.executors.aider_answer import Answer, tokens
from relay_workers.executors.port import Verdict, exit_verdict
from relay_workers.executors.text_lines import TextLines
from relay_workers.executors.transcript import Transcript
from relay_workers.executors.words import words

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
_RETRIED = "Retrying in "
_GIVEN_UP = re.compile(r"Only \d+ reflections allowed")
_KEY = re.compile(r"AuthenticationError|PermissionDenied|\b40[13]\b|api[ _]key", re.IGNORECASE)
_REPORT_ENDS = re.compile(r".*docstrings, etc$|Just reply with fixed versions of")
_PATH = re.compile(r"[^\s./]*[./]\S*")


class AiderReader:
    """What one turn said, how it ended, and what it used."""

    agent_message_id: None = None

    def __init__(self) -> None:
        self._lines = TextLines()
        self._take = self._take_first
        self._answer = Answer()
        self._answers = 0
        self._held: list[str] = []
        self._last = ""
        self._edits: list[str] = []
        self._error: str | None = None
        self._given_up: str | None = None
        self.transcript = Transcript()
        self.agent_session_id: str | None = None
        self.usage: dict[str, float] = {}

    @property
    def summary(self) -> str | None:
        """The last answer, without the blocks that became edits; where it has no other words, what was edited."""
        edited = ", ".join(dict.fromkeys(self._edits))
        return words(self._answer.text(without_edits=bool(edited))) or words(edited and f"Edited {edited}")

    def feed(self, data: bytes) -> None:
        """Take the next bytes."""
        for line in self._lines.feed(data):
            self._take_line(line)

    def entries(self) -> Sequence[Entry]:
        """What is new or changed in the conversation."""
        return self.transcript.take()

    def verdict(self, exit_code: int | None) -> Verdict:
        """Success takes an answer of the model, no error or surrender after it, *and* exit code 0."""
        for line in self._lines.finish():
            self._take_line(line)
        self._flush(EntryKind.NOTICE, self._held)
        self.transcript.close()
        self.transcript.use(self.usage)
        return self._judge(exit_code)

    def _judge(self, exit_code: int | None) -> Verdict:
        if exit_code == NO_SUCH_CONVERSATION and self.agent_session_id is None:
            return Verdict.failed(Reason.CANNOT_RESUME, "aider has no conversation of that id in this workspace")
        if self._error is not None:
            advice = f": {_ADVICE}" if _KEY.search(self._error) else ""
            return Verdict.failed(Reason.AGENT_ERROR, words(self._error + advice))
        if self._given_up is not None:
            return Verdict.failed(
                Reason.AGENT_ERROR, words(f"aider could not edit as the model said. {self._given_up}")
            )
        by_code = exit_verdict("aider", exit_code)
        if by_code.success and not self._answers:
            return Verdict.failed(Reason.AGENT_ERROR, "aider ended without an answer of the model: see its output")
        return by_code

    def _take_line(self, line: str) -> None:
        self._take(line)
        self._last = line

    def _take_first(self, line: str) -> None:
        """The script's line before anything of aider's."""
        if begun := _BEGUN.fullmatch(line):
            self.agent_session_id = begun[1]
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
        begins = not self._answer.begun
        if begins and (not line.strip() or _HEAD.match(line) or (not self._last.strip() and self._is_asked(line))):
            return
        self._answer.add(line)
        self.transcript.stream(f"{line}\n")

    def _is_asked(self, line: str) -> bool:
        """A path alone after an empty line is what it asked itself about; or an answer, if a block follows."""
        if not _PATH.fullmatch(line):
            return False
        self._answer.title = line
        return True

    def _take_after(self, line: str) -> None:
        """What was done with an answer, or a report, or the next answer."""
        if not self._end_of_answer(line) and not self._take_event(line) and len(self._held) < MAX_HELD:
            self._held.append(line)

    def _end_of_answer(self, line: str) -> bool:
        used = tokens(line)
        if used is None:
            return False
        for name, value in used.items():
            self.usage[name] = value if name == "cost_usd" else self.usage.get(name, 0) + value
        if self._take == self._take_after:
            ends = [index for index, held in enumerate(self._held) if _REPORT_ENDS.match(held)]
            start = ends[-1] + 1 if ends else 0
            self._flush(EntryKind.NOTICE, self._held[:start])
            self._answer = Answer(self._held[start:])
            self._flush(EntryKind.ASSISTANT, self._held[start:])
        self.transcript.say("")
        self._error = None  # a request that failed has no such line: what looked like an error was said by the model
        self._answers += 1
        self._held = []
        self._take = self._take_after
        return True

    def _take_event(self, line: str) -> bool:
        """Whether it is a line of aider's own that tells of something."""
        if edited := _EDITED.fullmatch(line):
            self._edits.append(edited[1])
            call_id = f"edit{len(self._edits)}"
            self.transcript.call(call_id, "edit", "", paths=[edited[1]])
            self.transcript.result(call_id, line)
        elif _COMMIT.match(line):
            self.transcript.say(line, kind=EntryKind.NOTICE)
        elif _ERROR.match(line):
            self._error, self._answer.in_block = line, False
            self.transcript.say(line, kind=EntryKind.ERROR)
        elif line.startswith(_RETRIED):
            self._error, self._answer = None, Answer()
            self.transcript.say(line, kind=EntryKind.NOTICE)
        elif _GIVEN_UP.match(line):
            self._given_up = line
            self.transcript.say(line, kind=EntryKind.ERROR)
        else:
            return False
        return True

    def _flush(self, kind: EntryKind, lines: Sequence[str]) -> None:
        self.transcript.say("\n".join(lines).strip(), kind=kind)
