"""Build the entries of a turn's conversation while a reader parses the agent's output.

`relay_core.domain.agents.conversation` defines the entries.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from relay_core.domain.agents.conversation import (
    MAX_ENTRIES,
    MAX_INPUT_BYTES,
    MAX_TEXT_BYTES,
    Entry,
    EntryKind,
    Tool,
    ToolStatus,
)

OPEN_CALLS = 256
"""Maximum number of tool calls without a result; at one more, the oldest is forgotten, and its entry stays as it is."""

MAX_REASON = 500
"""Number of characters of a failed edit's result that are kept as the reason of the failure."""
_MAY_WRITE = {"bash", "shell", "run_shell_command", "command_execution", "execute", "exec", "terminal", "local_shell"}
"""Lower-case names of tools that run commands: a successful call may have written the file whose edit failed before."""

# Postgres cannot store NUL or halves of surrogate pairs. Colours and newlines stay: clients decide how to show them.
_UNSTORABLE = re.compile(r"[\x00\ud800-\udfff]")


@dataclass
class _Draft:
    """An entry that may still change: the fields of `Entry`, with its text in `pieces` of `size` bytes in total."""

    index: int
    kind: EntryKind
    sequence: int = 0
    pieces: list[str] = field(default_factory=list)
    size: int = 0
    tool: Tool | None = None
    usage: Mapping[str, float] | None = None
    truncated: bool = False
    agent: str | None = None
    times: int = 1
    """How many times in a row this message was added."""

    def replace(self, text: str) -> bool:
        """Replace the whole text; return whether that changed anything."""
        before = ("".join(self.pieces), self.truncated)
        self.pieces, self.size, self.truncated = [], 0, False
        self.add(text)
        return before != ("".join(self.pieces), self.truncated)

    def add(self, text: str) -> None:
        kept, cut = _cut(text, MAX_TEXT_BYTES - self.size)
        self.truncated |= cut
        if kept:
            self.pieces.append(kept)
            self.size += len(kept.encode())

    def entry(self) -> Entry:
        self.pieces = ["".join(self.pieces)]
        text = self.pieces[0] if self.times == 1 else f"{self.pieces[0]}\n(the same {self.times} times)"
        return Entry(self.index, self.sequence, self.kind, text, self.tool, self.usage, self.truncated, self.agent)

    def equals(self, text: str, kind: EntryKind, agent: str | None) -> bool:
        """Return whether the entry has exactly this text, kind and agent (name of a subagent, or None)."""
        return (self.kind, self.agent) == (kind, agent) and "".join(self.pieces) == text


class Transcript:
    """The conversation of one turn. Texts are cut to their limits, and characters that cannot be stored are replaced.

    Memory is bounded: an entry that `take_changes` has returned and that cannot change any more is dropped.
    """

    def __init__(self) -> None:
        self._count = 0
        self._sequence = 0
        self._changed: dict[int, _Draft] = {}
        self._open_message: _Draft | None = None
        """The message to which `add_text` appends; None if the next text starts a new message."""
        self._streamed: _Draft | None = None
        """The message that `stream_text` builds and `complete_message` completes; None if there is none."""
        self._streams_anew = False
        """Whether the next streamed text replaces the text of `_streamed`."""
        self._calls: dict[str, _Draft] = {}
        """The agent's id of each open tool call (one without a result) → its entry."""
        self._last_message: _Draft | None = None
        """The newest entry if it is a complete message; otherwise None."""
        self._writes = 0
        """Number of successful edits, and of successful calls of tools that may have written files."""
        self.agent: str | None = None
        """Name of the subagent that makes the next entries; None for the agent itself."""
        self.has_error = False
        """Whether one of the entries is an error."""
        self._failed_edit: str | None = None

    @property
    def failed_edit(self) -> str | None:
        """Why the last edit failed; None if no edit failed, or an edit or a tool that may write files succeeded."""
        return self._failed_edit

    def take_changes(self) -> list[Entry]:
        """Return the entries that are new or changed since the last call, in the order of their `sequence`."""
        entries = sorted((draft.entry() for draft in self._changed.values()), key=lambda entry: entry.sequence)
        self._changed.clear()
        return entries

    def add_message(self, text: str, *, kind: EntryKind = EntryKind.ASSISTANT) -> None:
        """Add a complete message. If the previous entry is the same message, count the repetition in that entry."""
        if not text.strip():
            return
        self.has_error |= kind is EntryKind.ERROR
        self._open_message = None
        if self._last_message is not None and self._last_message.equals(_clean(text), kind, self.agent):
            self._last_message.times += 1
            self._touch(self._last_message)
            return
        self.add_text(text, kind=kind)
        self._last_message, self._open_message = self._open_message, None

    def add_error(self, text: str) -> None:
        """Add an error. If the previous entry is the beginning of the same error, replace the text of that entry."""
        last = self._last_message
        if last is not None and last.kind is EntryKind.ERROR and text.startswith("".join(last.pieces).rstrip(". ")):
            last.replace(text)
            self._touch(last)
        else:
            self.add_message(text, kind=EntryKind.ERROR)

    def add_text(self, text: str, *, kind: EntryKind = EntryKind.ASSISTANT) -> None:
        """Append a piece of text to the message that the previous calls of this method built.

        If that message has another kind or agent, or another entry was added since, the piece starts a new message.
        """
        message = self._open_message
        if message is None or (message.kind, message.agent) != (kind, self.agent):
            self._open_message = self._new(kind)
        if self._open_message is not None and text:
            self._open_message.add(text)
            self._touch(self._open_message)

    def begin_stream(self) -> None:
        """Note that the model begins a message: of one that was not completed, the agent requested it again.

        Its entry stays, and its text is replaced once the next text arrives.
        """
        self._streams_anew = True

    def stream_text(self, text: str, *, kind: EntryKind = EntryKind.ASSISTANT) -> None:
        """Append a piece of text to the message that is to be completed by `complete_message`.

        Blank text at the beginning of the message is dropped.
        """
        draft = self._streamed
        if not text:
            return
        if draft is not None and (draft.kind, draft.agent) == (kind, self.agent):
            if self._streams_anew:
                draft.replace("")
            draft.add(text)
        elif text.strip():
            draft = self._new(kind)
            if draft is not None:
                draft.add(text.lstrip())
        else:
            return
        self._streamed, self._streams_anew = draft, False
        if draft is not None:
            self._touch(draft)

    def complete_message(self, text: str, *, kind: EntryKind = EntryKind.ASSISTANT) -> None:
        """Add a complete message; if `stream_text` has built the entry of a message of this kind, replace its text."""
        draft = self._streamed
        if draft is None or (draft.kind, draft.agent) != (kind, self.agent):
            self.add_message(text, kind=kind)
            return
        self._streamed = None
        if text.strip() and draft.replace(text.lstrip()):
            self._touch(draft)

    def begin_call(self, call_id: str, name: str, given: Any, *, paths: Sequence[str] = ()) -> None:
        """Add a tool call; if a call with this id is open (has no result yet), replace its data.

        Args:
            call_id: the agent's id of the call.
            name: name of the tool.
            given: input of the tool: a text, or a value that is stored as JSON.
            paths: files that the call edits; empty for a call that edits none.
        """
        text, cut = _cut(given if isinstance(given, str) else _json(given), MAX_INPUT_BYTES)
        tool = Tool(_clean(name)[:200], text, paths=tuple(_clean(path)[:4096] for path in paths[:100]))
        draft = self._calls.get(call_id)
        if draft is None:
            draft = self._new(EntryKind.FILE_EDIT if paths else EntryKind.TOOL_CALL)
            if draft is None:
                return
            while len(self._calls) >= OPEN_CALLS:
                del self._calls[next(iter(self._calls))]
            self._calls[call_id] = draft
        draft.kind = EntryKind.FILE_EDIT if paths else draft.kind
        draft.tool = tool
        draft.truncated |= cut
        self._touch(draft)

    def end_call(self, call_id: str, text: str, *, failed: bool = False, exit_code: object = None) -> None:
        """Store the result of an open tool call and close the call; the result of an unknown call is dropped.

        An exit code other than 0 becomes the first line of the result, as Claude Code writes it.

        Args:
            call_id: the agent's id of the call.
            text: the result.
            failed: whether the call failed.
            exit_code: exit code of the command that the call ran, as the agent printed it; None if it printed none.
        """
        if isinstance(exit_code, int) and exit_code:
            text = f"Exit code {exit_code}\n{text}"
        draft = self._calls.pop(call_id, None)
        if draft is None or draft.tool is None:
            return
        kept, cut = _cut(text, MAX_TEXT_BYTES)
        status = ToolStatus.FAILED if failed else ToolStatus.COMPLETED
        draft.tool = Tool(draft.tool.name, draft.tool.input, status, kept, draft.tool.paths)
        draft.truncated |= cut
        self._touch(draft)
        self._judge_edit(draft, failed=failed)

    def _judge_edit(self, draft: _Draft, *, failed: bool) -> None:
        if draft.tool is None:
            return
        if draft.kind is EntryKind.FILE_EDIT and failed:
            if not self._writes:
                why = draft.tool.result.strip()[:MAX_REASON] or "the agent reports no reason"
                self._failed_edit = f"{draft.tool.name} {', '.join(draft.tool.paths)}: {why}"
        elif not failed and (draft.kind is EntryKind.FILE_EDIT or draft.tool.name.lower() in _MAY_WRITE):
            self._writes, self._failed_edit = self._writes + 1, None

    def add_usage(self, usage: Mapping[str, float]) -> None:
        """Add an entry with the amounts that the turn used; add nothing if `usage` is empty."""
        if usage and (draft := self._new(EntryKind.USAGE)):
            draft.usage = dict(usage)
            self._touch(draft)

    def close(self) -> None:
        """Mark the tool calls that have no result as interrupted; called when the turn has ended."""
        for draft in self._calls.values():
            if draft.tool is not None:
                tool = draft.tool
                draft.tool = Tool(tool.name, tool.input, ToolStatus.INTERRUPTED, tool.result, tool.paths)
                self._touch(draft)
        self._calls.clear()
        self._open_message = None

    def _new(self, kind: EntryKind) -> _Draft | None:
        """Return a new entry; None if the conversation is full.

        The last of the `MAX_ENTRIES` entries is a notice that the rest is only in the raw log.
        """
        self._open_message = self._last_message = None
        if self._count >= MAX_ENTRIES:
            return None
        draft = _Draft(self._count, kind, agent=self.agent)
        self._count += 1
        if self._count == MAX_ENTRIES:
            draft.kind = EntryKind.NOTICE
            draft.add(f"More than {MAX_ENTRIES} entries: the rest of this turn is only in its raw log.")
            self._touch(draft)
            return None
        return draft

    def _touch(self, draft: _Draft) -> None:
        self._sequence += 1
        draft.sequence = self._sequence
        self._changed[draft.index] = draft


def _cut(text: str, room: int) -> tuple[str, bool]:
    """Return the text with unstorable characters replaced, cut to `room` bytes of UTF-8, and whether it was cut."""
    text = _clean(text[: max(0, room) + 1])  # a character takes at least one byte
    encoded = text.encode()
    if len(encoded) <= room:
        return text, False
    return encoded[: max(0, room)].decode(errors="ignore"), True


def _clean(text: str) -> str:
    return _UNSTORABLE.sub("�", text)


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, default=str)
