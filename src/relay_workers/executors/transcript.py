"""Builds the entries of a turn while an agent's output is read (relay_core.domain.conversation)."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from relay_core.domain.conversation import (
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

    def add(self, text: str) -> None:
        kept, cut = _cut(text, MAX_TEXT_BYTES - self.size)
        self.truncated |= cut
        if kept:
            self.pieces.append(kept)
            self.size += len(kept.encode())

    def entry(self) -> Entry:
        self.pieces = ["".join(self.pieces)]
        return Entry(self.index, self.sequence, self.kind, self.pieces[0], self.tool, self.usage, self.truncated)


class Transcript:
    """The conversation of one turn, in bounded memory: what is taken and cannot change any more is forgotten."""

    def __init__(self) -> None:
        self._count = 0
        self._sequence = 0
        self._changed: dict[int, _Draft] = {}
        self._speaking: _Draft | None = None
        """What streamed text belongs to."""
        self._calls: dict[str, _Draft] = {}

    def take(self) -> list[Entry]:
        """The entries that are new or changed since this was last asked, in the order of their `sequence`."""
        entries = sorted((draft.entry() for draft in self._changed.values()), key=lambda entry: entry.sequence)
        self._changed.clear()
        return entries

    def say(self, text: str, *, kind: EntryKind = EntryKind.ASSISTANT) -> None:
        """A whole message."""
        if text.strip():
            self.stream(text, kind=kind)
            self._speaking = None

    def stream(self, text: str, *, kind: EntryKind = EntryKind.ASSISTANT) -> None:
        """A piece of a message, which goes on with the next piece of that kind unless something comes between."""
        if self._speaking is None or self._speaking.kind is not kind:
            self._speaking = self._new(kind)
        if self._speaking is not None and text:
            self._speaking.add(text)
            self._touch(self._speaking)

    def call(self, call_id: str, name: str, given: Any, *, paths: Sequence[str] = ()) -> None:
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

    def result(self, call_id: str, text: str, *, failed: bool = False) -> None:
        """A tool call has ended; of a call that nobody knows nothing is kept."""
        draft = self._calls.pop(call_id, None)
        if draft is None or draft.tool is None:
            return
        kept, cut = _cut(text, MAX_TEXT_BYTES)
        status = ToolStatus.FAILED if failed else ToolStatus.COMPLETED
        draft.tool = Tool(draft.tool.name, draft.tool.input, status, kept, draft.tool.paths)
        draft.truncated |= cut
        self._touch(draft)

    def use(self, usage: Mapping[str, float]) -> None:
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
        self._speaking = None
        if self._count >= MAX_ENTRIES:
            return None
        draft = _Draft(self._count, kind)
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
