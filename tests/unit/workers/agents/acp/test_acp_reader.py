"""Lines as the driver prints them."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay_core.domain.agents.conversation import MAX_TEXT_BYTES, EntryKind, ToolStatus
from relay_core.domain.vocabulary import Reason
from relay_workers.agents.acp.reader import AcpReader

SESSION = {"type": "session", "session_id": "s1", "loaded": False, "replayed": 0}
END = {"type": "end", "stop_reason": "end_turn", "usage": None}


def update(what, **more):
    return {"type": "update", "update": {"sessionUpdate": what, **more}}


def said(text, what="agent_message_chunk", **more):
    return update(what, content={"type": "text", "text": text}, **more)


def packed(*lines):
    return b"".join(json.dumps(line).encode() + b"\n" for line in lines)


def read(*lines):
    reader = AcpReader()
    reader.feed(packed(*lines))
    return reader


def entries(reader):
    return [(entry.kind, entry.text or entry.tool) for entry in reader.entries()]


def test_the_last_message_is_the_summary_and_pieces_are_one_entry():
    call = update("tool_call", toolCallId="t", title="ls", kind="execute", rawInput={"command": "ls"})
    over = update("tool_call_update", toolCallId="t", status="completed", rawOutput="a.txt")
    reader = read(
        SESSION, said("I will "), said("look."), said("hm", "agent_thought_chunk"), call, over, said("Done."), END
    )
    assert reader.verdict(0).success
    assert reader.summary == "Done."
    told = entries(reader)
    assert told[0] == (EntryKind.ASSISTANT, "I will look.")
    assert told[1] == (EntryKind.REASONING, "hm")
    kind, tool = told[2]
    assert (kind, tool.name, tool.status, tool.result) == (EntryKind.TOOL_CALL, "ls", ToolStatus.COMPLETED, "a.txt")
    assert json.loads(tool.input) == {"command": "ls"}


def test_messages_with_ids_of_their_own_are_told_apart():
    reader = read(SESSION, said("One", messageId="a"), said("Two", messageId="b"), said(" more", messageId="b"), END)
    assert (reader.verdict(0).success, reader.summary, reader.agent_message_id) == (True, "Two more", "b")
    assert entries(reader) == [(EntryKind.ASSISTANT, "One\n\nTwo more")]


def test_a_call_is_known_by_what_was_told_of_it_so_far():
    diff = {"type": "diff", "path": "/r/a.py", "oldText": "", "newText": "x"}
    words = {"type": "content", "content": {"type": "text", "text": "written"}}
    reader = read(
        SESSION,
        update("tool_call", toolCallId="t", title="Write", kind="edit", status="pending"),
        update("tool_call_update", toolCallId="t", locations=[{"path": "/r/b.py"}], rawInput={"a": 1}),
        update("tool_call_update", toolCallId="t", content=[diff, words], status="completed"),
        update("tool_call_update", toolCallId="t", status="completed", content=[words]),
        END,
    )
    reader.verdict(0)
    kind, tool = entries(reader)[0]
    assert (kind, tool.paths, tool.result, tool.status) == (
        EntryKind.FILE_EDIT,
        ("/r/a.py",),
        "written",
        ToolStatus.COMPLETED,
    )
    assert json.loads(tool.input) == {"a": 1}


def test_of_a_command_its_words_and_its_output_are_kept():
    command = {"command": ["/bin/bash", "-lc", "echo a"], "cwd": "/r"}
    given = {"call_id": "c", "turn_id": "t", "started_at_ms": 1, "source": "x", "parsed_cmd": [], **command}
    ended = {**given, "aggregated_output": "a\n", "formatted_output": "a\n", "exit_code": 0}
    reader = read(
        SESSION,
        update("tool_call", toolCallId="t", title="echo a", kind="execute", rawInput=given),
        update("tool_call_update", toolCallId="t", status="completed", rawOutput=ended),
    )
    _, tool = entries(reader)[0]
    assert (json.loads(tool.input), tool.result) == (command, "a\n")


def test_tokens_of_each_request_are_parted_and_known_of_a_killed_turn():
    counts = {"inputTokens": 111, "outputTokens": 10, "thoughtTokens": 3, "cachedReadTokens": 100}
    reader = read(SESSION, said("", _meta={"usage": counts}))
    reader.verdict(143, stopped=True)
    assert reader.usage == {
        "input_tokens": 11,
        "cache_read_input_tokens": 100,
        "output_tokens": 7,
        "reasoning_tokens": 3,
    }


def test_a_plan_is_a_notice_and_cost_is_usage():
    plan = update(
        "plan", entries=[{"content": "look", "status": "completed"}, {"content": "write", "status": "pending"}]
    )
    cost = update("usage_update", used=1, size=2, cost={"amount": 0.5, "currency": "USD"})
    usage = {"inputTokens": 1, "outputTokens": 2, "cachedReadTokens": 3, "cachedWriteTokens": 4, "thoughtTokens": 5}
    reader = read(SESSION, plan, said("Done."), cost, {**END, "usage": usage})
    assert reader.verdict(0).success
    assert entries(reader)[0] == (EntryKind.NOTICE, "[x] look\n[ ] write")
    assert reader.usage == {
        "input_tokens": 1,
        "output_tokens": 2,
        "cache_read_input_tokens": 3,
        "cache_creation_input_tokens": 4,
        "reasoning_tokens": 5,
        "cost_usd": 0.5,
    }


def test_cost_is_of_the_whole_conversation_so_it_counts_only_where_it_began():
    cost = update("usage_update", cost={"amount": 0.5, "currency": "USD"})
    reader = read({**SESSION, "loaded": True}, cost, said("Done."), {**END, "usage": {"inputTokens": 1}})
    assert (reader.verdict(0).success, reader.usage) == (True, {"input_tokens": 1})


def test_tokens_that_are_told_with_the_words_are_summed():
    told = {"_meta": {"usage": {"inputTokens": 11, "outputTokens": 7}}}
    reader = read(SESSION, said("Done."), said("", **told), update("tool_call", toolCallId="t"), said("", **told), END)
    assert reader.verdict(0).success
    assert reader.usage == {"input_tokens": 22, "output_tokens": 14}
    assert reader.summary == "Done."


def test_what_the_program_says_is_not_the_agents():
    notice = said("Billing changes", _meta={"claudeCode": {"kind": "informational"}})
    reader = read(SESSION, said("Done."), notice, END)
    assert (reader.verdict(0).success, reader.summary) == (True, "Done.")


def test_a_call_that_was_refused_has_failed():
    asked = {"type": "permission", "tool_call": {"toolCallId": "t", "title": "rm", "kind": "execute"}, "allowed": False}
    reader = read(SESSION, asked, said("I may not."), END)
    assert reader.verdict(0).success
    _, tool = entries(reader)[0]
    assert (tool.name, tool.status, tool.result) == ("rm", ToolStatus.FAILED, "Permission was refused.")
    assert "refused a permission" in (read(SESSION, asked, END).verdict(0).message or "")


def test_a_conversation_counts_once_the_agent_has_answered_in_it():
    assert read(SESSION).agent_session_id is None
    assert read(SESSION, update("available_commands_update", availableCommands=[])).agent_session_id is None
    assert read(SESSION, said("x")).agent_session_id == "s1"
    assert read({**SESSION, "loaded": True}).agent_session_id == "s1"


@pytest.mark.parametrize(
    ("stage", "code", "data", "reason", "message"),
    [
        ("load", -32002, {"uri": "s1"}, Reason.CANNOT_RESUME, 'Failed: {"uri": "s1"}'),
        ("load", None, None, Reason.CANNOT_RESUME, "Failed"),
        ("load", -32000, None, Reason.AGENT_ERROR, "Failed: give the run the agent's key"),
        ("prompt", -32603, {"details": "overloaded"}, Reason.AGENT_ERROR, "Failed: overloaded"),
        ("prompt", -32603, {"details": "Failed."}, Reason.AGENT_ERROR, "Failed"),
        (
            "prompt",
            -32603,
            {"message": '{"error": {"message": "overloaded"}}'},
            Reason.AGENT_ERROR,
            "Failed: overloaded",
        ),
        ("new", -32603, "text", Reason.AGENT_ERROR, "Failed: text"),
    ],
)
def test_an_error_fails_the_turn_with_its_words(stage, code, data, reason, message):
    verdict = read(
        SESSION, {"type": "error", "stage": stage, "message": "Failed.", "code": code, "data": data}
    ).verdict(1)
    assert (verdict.success, verdict.reason) == (False, reason)
    assert verdict.message.startswith(message.partition(".")[0])


@pytest.mark.parametrize(
    ("lines", "code", "reason"),
    [
        ([SESSION, said("x")], 0, Reason.AGENT_ERROR),
        ([SESSION, said("x")], 1, Reason.EXIT_CODE),
        ([SESSION, said("x"), END], 143, Reason.EXIT_CODE),
        ([SESSION, said("x"), END], None, Reason.EXIT_CODE),
        ([SESSION, {**END, "stop_reason": "cancelled"}], 1, Reason.AGENT_ERROR),
        ([SESSION, {**END, "stop_reason": None}], 1, Reason.AGENT_ERROR),
        ([], 127, Reason.EXIT_CODE),
    ],
)
def test_success_takes_the_end_of_a_turn_and_exit_code_0(lines, code, reason):
    verdict = read(*lines).verdict(code)
    assert (verdict.success, verdict.reason) == (False, reason)


ODD = st.sampled_from([None, True, 5, 0.5, "", "completed", "edit", [], [1, "x"], {}, {"text": 1}, [{"content": []}]])
NAMES = ("toolCallId", "title", "kind", "status", "content", "locations", "rawInput", "rawOutput", "entries", "cost")
KINDS = ("agent_message_chunk", "tool_call", "tool_call_update", "plan", "usage_update", "other")


@given(
    st.sampled_from(KINDS), st.dictionaries(st.sampled_from(NAMES), ODD), st.dictionaries(st.sampled_from(NAMES), ODD)
)
def test_nothing_that_an_agent_sends_is_an_error(kind, fields, asked):
    permission = {"type": "permission", "tool_call": asked, "allowed": False}
    reader = read(SESSION, said("x"), update(kind, **fields), permission, {**END, "usage": fields})
    assert reader.verdict(0).success
    for entry in reader.entries():
        json.dumps(entry.as_json())


@given(st.lists(st.integers(1, 300), max_size=20))
def test_pieces_do_not_matter(sizes):
    stream = packed(SESSION, said("grüße €"), update("tool_call", toolCallId="t", title="x"), said("end"), END)
    reader = AcpReader()
    for size in sizes:
        reader.feed(stream[:size])
        stream = stream[size:]
    reader.feed(stream)
    assert (reader.verdict(0).success, reader.summary) == (True, "end")


def test_megabytes_are_kept_in_part():
    big = "x" * 5_000_000
    call = update("tool_call", toolCallId="t", title="x", rawInput=big, rawOutput=big, status="completed")
    reader = read(SESSION, said(big), call, END)
    assert reader.verdict(0).success
    assert len(reader.summary.encode()) <= 4096
    assert [(len(entry.text), entry.truncated) for entry in reader.entries()] == [(MAX_TEXT_BYTES, True), (0, True)]
