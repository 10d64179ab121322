"""Entries of a turn: the same numbers however the output was cut, in bounded memory."""

import json
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from relay_core.domain.agents.conversation import MAX_ENTRIES, MAX_INPUT_BYTES, MAX_TEXT_BYTES, EntryKind, ToolStatus
from relay_workers.agents.claude_code.reader import ClaudeReader
from relay_workers.agents.shared import transcript as module
from relay_workers.agents.shared.transcript import Transcript


def latest(entries):
    """What a reader of the stored rows has in the end."""
    kept = {}
    for entry in entries:
        if entry.index not in kept or kept[entry.index].sequence < entry.sequence:
            kept[entry.index] = entry
    return [kept[index] for index in sorted(kept)]


def line(kind, *blocks, **more):
    return json.dumps({"type": kind, "session_id": "s", "message": {"content": list(blocks)}, **more}).encode() + b"\n"


def piece(**delta):
    event = {"type": "content_block_delta", "delta": delta}
    return json.dumps({"type": "stream_event", "event": event}).encode() + b"\n"


TURN = b"".join(
    (
        piece(thinking="h"),
        line("assistant", {"type": "thinking", "thinking": "hm"}),
        piece(text="I lo"),
        piece(text="ok."),
        line("assistant", {"type": "text", "text": "I look."}),
        line("assistant", {"type": "tool_use", "id": "t1", "name": "Bash", "input": {"command": "ls"}}),
        line("user", {"type": "tool_result", "tool_use_id": "t1", "content": "a\nb"}),
        line("assistant", {"type": "tool_use", "id": "t2", "name": "Edit", "input": {"file_path": "/w/a.py"}}),
        line("user", {"type": "tool_result", "tool_use_id": "t2", "content": "no", "is_error": True}),
        line("assistant", {"type": "tool_use", "id": "t3", "name": "Bash", "input": {"command": "sleep"}}),
        line("assistant", {"type": "text", "text": "grüße 😀"}),
    )
)
RESULT = json.dumps(
    {"type": "result", "subtype": "success", "is_error": False, "result": "done", "usage": {"input_tokens": 3}}
).encode()


def read(pieces):
    reader, entries = ClaudeReader(), []
    for piece in pieces:
        reader.feed(piece)
        entries += reader.entries()
    reader.verdict(0)
    return entries + list(reader.entries())


def test_a_turn_as_entries():
    entries = latest(read([TURN + RESULT]))
    assert [entry.kind for entry in entries] == [
        EntryKind.REASONING,
        EntryKind.ASSISTANT,
        EntryKind.TOOL_CALL,
        EntryKind.FILE_EDIT,
        EntryKind.TOOL_CALL,
        EntryKind.ASSISTANT,
        EntryKind.USAGE,
    ]
    calls = [entry.tool for entry in entries if entry.tool]
    assert [(call.name, call.status, call.result, call.paths) for call in calls] == [
        ("Bash", ToolStatus.COMPLETED, "a\nb", ()),
        ("Edit", ToolStatus.FAILED, "no", ("/w/a.py",)),
        ("Bash", ToolStatus.INTERRUPTED, "", ()),
    ]
    assert entries[-1].usage == {"input_tokens": 3.0}
    assert entries[-2].text == "grüße 😀"


@settings(max_examples=100, deadline=None)
@given(st.lists(st.integers(0, len(TURN + RESULT)), max_size=12))
def test_numbers_do_not_depend_on_how_the_output_was_cut(cuts):
    data = TURN + RESULT
    at = [0, *sorted(cuts), len(data)]
    pieces = [data[start:end] for start, end in pairwise(at)]
    assert latest(read(pieces)) == latest(read([data]))


def test_every_change_has_a_number_of_its_own():
    entries = read([bytes([byte]) for byte in TURN + RESULT])
    numbers = [entry.sequence for entry in entries]
    assert numbers == sorted(set(numbers))


def test_text_that_streams_in_is_one_entry():
    transcript = Transcript()
    transcript.add_text("Hel")
    first = transcript.take_changes()
    transcript.add_text("lo")
    second = transcript.take_changes()
    transcript.begin_call("1", "sh", {"command": "ls"})
    transcript.add_text("more")
    third = transcript.take_changes()
    assert [(one.index, one.text) for one in first + second] == [(0, "Hel"), (0, "Hello")]
    assert [(one.index, one.kind) for one in third] == [(1, EntryKind.TOOL_CALL), (2, EntryKind.ASSISTANT)]


@pytest.mark.parametrize("text", ["x" * (MAX_TEXT_BYTES + 1), "ü" * MAX_TEXT_BYTES, "😀" * MAX_TEXT_BYTES])
def test_what_is_too_long_is_cut_between_characters(text):
    transcript = Transcript()
    transcript.add_message(text)
    [entry] = transcript.take_changes()
    assert entry.truncated
    assert text.startswith(entry.text)
    assert MAX_TEXT_BYTES - 4 < len(entry.text.encode()) <= MAX_TEXT_BYTES


def test_a_long_input_is_cut_and_nothing_unstorable_is_kept():
    transcript = Transcript()
    transcript.begin_call("1", "w\0rite", {"content": "y" * MAX_INPUT_BYTES}, paths=["a\ud800b"])
    transcript.end_call("1", "null \0 byte")
    [entry] = transcript.take_changes()
    assert entry.truncated
    assert len(entry.tool.input.encode()) <= MAX_INPUT_BYTES
    assert (entry.tool.name, entry.tool.paths, entry.tool.result) == ("w\ufffdrite", ("a\ufffdb",), "null \ufffd byte")


def test_there_is_a_last_entry():
    transcript = Transcript()
    for number in range(MAX_ENTRIES + 10):
        transcript.add_message(str(number))
    entries = transcript.take_changes()
    assert len(entries) == MAX_ENTRIES
    assert entries[-1].kind is EntryKind.NOTICE
    assert "raw log" in entries[-1].text
    transcript.begin_call("1", "x", {})
    transcript.end_call("1", "y")
    transcript.add_usage({"tokens": 1})
    transcript.close()
    assert transcript.take_changes() == []


def test_calls_that_never_end_take_bounded_memory():
    transcript = Transcript()
    for number in range(5 * module.OPEN_CALLS):
        transcript.begin_call(str(number), "x", {})
        transcript.take_changes()
    transcript.close()
    assert len(transcript.take_changes()) == module.OPEN_CALLS


@pytest.mark.parametrize(
    "odd",
    [
        {"type": ["result"]},
        {"type": "assistant", "message": {"content": [{"type": "tool_use", "id": [], "name": {}, "input": []}]}},
        {"type": "user", "message": {"content": [{"type": "tool_result", "tool_use_id": {}}]}},
        {"type": "result", "api_error_status": [], "is_error": True},
    ],
)
def test_an_odd_line_is_passed_over(odd):
    entries = latest(read([json.dumps(odd).encode() + b"\n" + line("assistant", {"type": "text", "text": "on"})]))
    assert any(entry.text == "on" for entry in entries)
