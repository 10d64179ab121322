"""Builds the entries of a turn while an agent's output is read (relay_core.domain.agents.conversation)."""

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
"""Tool calls that may be open at once; the oldest beyond that stay as they are."""

MAX_REASON = 500
"""Characters of a failed edit's result that are told as the reason."""
_MAY_WRITE = {"bash", "shell", "run_shell_command", "command_execution", "execute", "exec", "terminal", "local_shell"}
"""Tools that may have written in place of an edit that failed."""

# A column takes no NUL, and JSON halves of surrogate pairs are no text; colours and newlines are left to the reader.
_UNSTORABLE = re.compile(r"[\x00\ud800-\udfff]")


@dataclass
class _Draft:
    """An entry that may still change."""

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
    """How often in a row this whole message was said."""

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

    def says(self, text: str, kind: EntryKind, agent: str | None) -> bool:
        """Whether it is this message, whole."""
        return (self.kind, self.agent) == (kind, agent) and "".join(self.pieces) == text


class Transcript:
    """The conversation of one turn, in bounded memory: what is taken and cannot change any more is forgotten."""

    def __init__(self) -> None:
        self._count = 0
        self._sequence = 0
        self._changed: dict[int, _Draft] = {}
        self._speaking: _Draft | None = None
        """What streamed text belongs to."""
        self._calls: dict[str, _Draft] = {}
        self._last: _Draft | None = None
        """The newest entry, if it is a whole message."""
        self._edits = 0
        """Edits that went well, and whatever else may have written files since the last that failed."""
        self.agent: str | None = None
        """The subagent that what follows is of; None: the agent itself."""
        self.has_error = False
        """Whether an error is among the entries."""
        self._failed_edit: str | None = None

    @property
    def failed_edit(self) -> str | None:
        """Why the last edit failed, where none went well and nothing else can have written in its place."""
        return self._failed_edit

    def take_changes(self) -> list[Entry]:
        """The entries that are new or changed since this was last asked, in the order of their `sequence`."""
        entries = sorted((draft.entry() for draft in self._changed.values()), key=lambda entry: entry.sequence)
        self._changed.clear()
        return entries

    def add_message(self, text: str, *, kind: EntryKind = EntryKind.ASSISTANT) -> None:
        """A whole message; said again at once, it is counted and makes no entry of its own."""
        if not text.strip():
            return
        self.has_error |= kind is EntryKind.ERROR
        self._speaking = None
        if self._last is not None and self._last.says(_clean(text), kind, self.agent):
            self._last.times += 1
            self._touch(self._last)
            return
        self.add_text(text, kind=kind)
        self._last, self._speaking = self._speaking, None

    def add_error(self, text: str) -> None:
        """An error; told again with more words, it is still one."""
        last = self._last
        if last is not None and last.kind is EntryKind.ERROR and text.startswith("".join(last.pieces).rstrip(". ")):
            last.pieces, last.size = [], 0
            last.add(text)
            self._touch(last)
        else:
            self.add_message(text, kind=EntryKind.ERROR)

    def end_message(self) -> None:
        """What is streamed next is a message of its own."""
        self._speaking = None

    def add_text(self, text: str, *, kind: EntryKind = EntryKind.ASSISTANT) -> None:
        """A piece of a message, which goes on with the next piece of that kind unless something comes between."""
        speaking = self._speaking
        if speaking is None or (speaking.kind, speaking.agent) != (kind, self.agent):
            self._speaking = self._new(kind)
        if self._speaking is not None and text:
            self._speaking.add(text)
            self._touch(self._speaking)

    def begin_call(self, call_id: str, name: str, given: Any, *, paths: Sequence[str] = ()) -> None:
        """A tool call begins, or one that is open is told again; with `paths` it is an edit of these files."""
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

    def end_call(self, call_id: str, text: str, *, failed: bool = False) -> None:
        """A tool call has ended; of a call that nobody knows nothing is kept."""
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
            if not self._edits:
                said = draft.tool.result.strip()[:MAX_REASON] or "nothing is told of why"
                self._failed_edit = f"{draft.tool.name} {', '.join(draft.tool.paths)}: {said}"
        elif not failed and (draft.kind is EntryKind.FILE_EDIT or draft.tool.name.lower() in _MAY_WRITE):
            self._edits, self._failed_edit = self._edits + 1, None

    def add_usage(self, usage: Mapping[str, float]) -> None:
        """What the turn took."""
        if usage and (draft := self._new(EntryKind.USAGE)):
            draft.usage = dict(usage)
            self._touch(draft)

    def close(self) -> None:
        """The turn is over: calls that are open were interrupted."""
        for draft in self._calls.values():
            if draft.tool is not None:
                tool = draft.tool
                draft.tool = Tool(tool.name, tool.input, ToolStatus.INTERRUPTED, tool.result, tool.paths)
                self._touch(draft)
        self._calls.clear()
        self._speaking = None

    def _new(self, kind: EntryKind) -> _Draft | None:
        """The next entry; None beyond the last that is kept."""
        self._speaking = self._last = None
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
    """The text, or what of it fits into so many bytes of UTF-8."""
    text = _clean(text[: max(0, room) + 1])  # a character takes at least a byte
    encoded = text.encode()
    if len(encoded) <= room:
        return text, False
    return encoded[: max(0, room)].decode(errors="ignore"), True


def _clean(text: str) -> str:
    return _UNSTORABLE.sub("�", text)


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, default=str)
