"""Lines as codex 0.169.0, opencode 1.18.33 and qwen 0.24.4 print them, without the fields that nobody reads."""

import json

import pytest

from relay_core.domain.agents.conversation import EntryKind, ToolStatus
from relay_core.domain.vocabulary import Reason
from relay_workers.agents.port import TurnRequest
from relay_workers.agents.registry import get_executor

THREAD = "01a1fd3f-9db1-7030-a2f4-7c7bd5a00745"
SES = "ses_e02b6e257ffe78ltJxyNJSBJAt"
OTHER = "00000000-0000-4000-8000-000000000000"


def read(executor, *lines, resumed=None):
    """What the reader makes of these lines, and of junk among them."""
    reader = get_executor(executor).reader(TurnRequest("x", resume_session_id=resumed))
    for line in lines:
        reader.feed(json.dumps(line).encode() + b'\n{"type":["x"],"item":7,"part":[],"message":3}\nno JSON\n')
    return reader


def entries_of(reader):
    return sorted(reader.entries(), key=lambda entry: entry.index)


# ---- codex


def item(kind, state="completed", item_id="item_1", **fields):
    return {"type": f"item.{state}", "item": {"id": item_id, "type": kind, **fields}}


STARTED = [{"type": "thread.started", "thread_id": THREAD}, {"type": "turn.started"}]
ANSWER = item("agent_message", text="All done.")
COMPLETED = {"type": "turn.completed", "usage": {"input_tokens": 44, "cached_input_tokens": 20, "output_tokens": 28}}
UNAUTHORIZED = "unexpected status 401 Unauthorized: Incorrect API key, url: http://x/v1/responses"
TOTAL = {"input_tokens": 33, "cached_input_tokens": 20, "output_tokens": 21, "total_tokens": 54}
COUNTED = {"type": "event_msg", "payload": {"type": "token_count", "info": {"total_token_usage": TOTAL}}}


def codex(*lines, **given):
    return read("codex", *lines, **given)


def test_codex_a_turn_that_succeeds():
    command = {"command": "/bin/bash -lc 'echo x; exit 2'", "aggregated_output": "", "exit_code": None}
    ran = {**command, "aggregated_output": "x\n", "exit_code": 2, "status": "failed"}
    changes = {"changes": [{"path": "/r/a.txt", "kind": "add"}, {"path": "/r/b.txt", "kind": "update"}]}
    asked = {"server": "docs", "tool": "search", "arguments": {"q": "x"}}
    found = {"result": {"content": [{"type": "text", "text": "found"}]}, "status": "completed"}
    reader = codex(
        *STARTED,
        item("error", message="Model metadata for `m` not found.", item_id="item_0"),
        item("reasoning", text="**Thinking**"),
        item("command_execution", "started", "item_2", **command, status="in_progress"),
        item("command_execution", "completed", "item_2", **ran),
        item("file_change", "started", "item_3", **changes, status="in_progress"),
        item("file_change", "completed", "item_3", **changes, status="completed"),
        item("mcp_tool_call", "completed", "item_4", **asked, **found),
        ANSWER,
        COMPLETED,
    )
    assert reader.verdict(0).success
    assert (reader.agent_session_id, reader.summary) == (THREAD, "All done.")
    assert reader.usage == {"input_tokens": 24, "cache_read_input_tokens": 20, "output_tokens": 28}
    notice, thought, run, edit, mcp, answer, usage = entries_of(reader)
    assert (notice.kind, thought.kind, thought.text) == (EntryKind.NOTICE, EntryKind.REASONING, "**Thinking**")
    assert (run.kind, run.tool.status, run.tool.result) == (EntryKind.TOOL_CALL, ToolStatus.FAILED, "Exit code 2\nx\n")
    assert json.loads(run.tool.input) == {"command": command["command"]}
    assert (edit.kind, edit.tool.paths) == (EntryKind.FILE_EDIT, ("/r/a.txt", "/r/b.txt"))
    assert edit.tool.status is ToolStatus.COMPLETED
    assert (mcp.tool.name, mcp.tool.result) == ("search", "found")
    assert (answer.text, usage.usage) == ("All done.", reader.usage)


def test_codex_counts_the_tokens_of_this_turn():
    assert codex(COUNTED, *STARTED, ANSWER, COMPLETED, resumed=THREAD).usage == {
        "input_tokens": 11,
        "cache_read_input_tokens": 0,
        "output_tokens": 7,
    }
    assert codex(*STARTED, ANSWER, COMPLETED).usage["input_tokens"] == 24


def test_codex_counts_the_tokens_of_a_turn_that_failed_or_was_killed():
    total = {**TOTAL, "input_tokens": 53, "cached_input_tokens": 30, "output_tokens": 26, "reasoning_output_tokens": 2}
    after = {"type": "event_msg", "payload": {"type": "token_count", "info": {"total_token_usage": total}}}
    failed = {"type": "turn.failed", "error": {"message": "no"}}
    reader = codex(COUNTED, *STARTED, failed, after, resumed=THREAD)
    assert not reader.verdict(1).success
    assert reader.usage == {
        "input_tokens": 10,
        "cache_read_input_tokens": 10,
        "output_tokens": 3,
        "reasoning_tokens": 2,
    }


def test_codex_tells_an_error_once_and_in_words():
    wrapped = json.dumps({"error": {"message": "The model is not there", "type": "invalid_request_error"}})
    reader = codex(
        *STARTED, {"type": "error", "message": wrapped}, {"type": "turn.failed", "error": {"message": wrapped}}
    )
    verdict = reader.verdict(1)
    assert (verdict.reason, verdict.message) == (Reason.AGENT_ERROR, "The model is not there")
    assert [(entry.kind, entry.text) for entry in entries_of(reader)] == [(EntryKind.ERROR, "The model is not there")]
    assert not reader.verdict(0).success
    assert reader.agent_session_id == THREAD


def test_codex_says_what_a_refused_key_needs():
    again = {"type": "error", "message": f"Reconnecting... 1/5 ({UNAUTHORIZED})"}
    last = [{"type": "error", "message": UNAUTHORIZED}, {"type": "turn.failed", "error": {"message": UNAUTHORIZED}}]
    reader = codex(*STARTED, again, *last)
    assert "OPENAI_API_KEY" in reader.verdict(1).message
    assert [entry.kind for entry in entries_of(reader)] == [EntryKind.NOTICE, EntryKind.ERROR]


def test_codex_a_try_that_went_well_is_no_error():
    again = {"type": "error", "message": "Reconnecting... 1/5 (stream disconnected)"}
    assert codex(*STARTED, again, ANSWER, COMPLETED).verdict(0).success
    assert "Reconnecting" in codex(*STARTED, again).verdict(143).message


def test_codex_exit_0_without_an_end_is_no_success():
    assert codex(*STARTED, ANSWER).verdict(0).reason is Reason.AGENT_ERROR
    assert codex(*STARTED, ANSWER, COMPLETED).verdict(137).reason is Reason.EXIT_CODE


def test_codex_a_killed_call_is_interrupted():
    reader = codex(*STARTED, item("command_execution", "started", command="tail -f /dev/null", status="in_progress"))
    assert reader.verdict(143).reason is Reason.EXIT_CODE
    assert entries_of(reader)[0].tool.status is ToolStatus.INTERRUPTED


def test_codex_cannot_resume_what_was_killed_before_it_was_saved():
    assert codex(STARTED[0]).agent_session_id is None


# ---- opencode


def part(kind, **fields):
    return {"type": kind, "timestamp": 1, "sessionID": SES, "part": {"messageID": "msg_1", **fields}}


def finish(reason):
    tokens = {"total": 18, "input": 11, "output": 7, "reasoning": 2, "cache": {"write": 0, "read": 3}}
    return part("step_finish", reason=reason, tokens=tokens, cost=0.25)


def tool(name, call_id, **state):
    return part("tool_use", tool=name, callID=call_id, state=state)


def opencode(*lines, **given):
    return read("opencode", *lines, **given)


def test_opencode_a_turn_that_succeeds():
    reader = opencode(
        part("step_start"),
        part("reasoning", text="Hm"),
        part("text", text="I will."),
        tool("write", "c1", status="completed", input={"filePath": "/r/o.txt", "content": "x"}, output="Wrote it."),
        tool("bash", "c2", status="completed", input={"command": "exit 2"}, output="x\n", metadata={"exit": 2}),
        tool("read", "c3", status="error", input={"filePath": "/r/none"}, error="File not found: /r/none"),
        finish("tool-calls"),
        part("step_start"),
        part("text", text="done"),
        finish("stop"),
    )
    assert reader.verdict(0).success
    assert (reader.agent_session_id, reader.agent_message_id, reader.summary) == (SES, "msg_1", "done")
    assert reader.usage == {
        "input_tokens": 22,
        "output_tokens": 14,
        "reasoning_tokens": 4,
        "cache_read_input_tokens": 6,
        "cache_creation_input_tokens": 0,
        "cost_usd": 0.5,
    }
    thought, said, write, bash, missing, done, usage = entries_of(reader)
    assert (thought.kind, said.text, done.text) == (EntryKind.REASONING, "I will.", "done")
    assert (write.kind, write.tool.paths, write.tool.result) == (EntryKind.FILE_EDIT, ("/r/o.txt",), "Wrote it.")
    assert [each.tool.status for each in (write, bash, missing)] == [
        ToolStatus.COMPLETED,
        ToolStatus.FAILED,
        ToolStatus.FAILED,
    ]
    assert missing.tool.result == "File not found: /r/none"
    assert usage.kind is EntryKind.USAGE


@pytest.mark.parametrize(("status", "words"), [(400, "refused"), (401, "refused: give the run a valid key")])
def test_opencode_an_error_is_the_verdict(status, words):
    error = {"name": "APIError", "data": {"message": "refused", "statusCode": status}}
    reader = opencode({"type": "error", "sessionID": SES, "error": error})
    verdict = reader.verdict(1)
    assert verdict.reason is Reason.AGENT_ERROR
    assert verdict.message.startswith(words)
    assert entries_of(reader)[0].kind is EntryKind.ERROR
    assert reader.agent_session_id == SES


@pytest.mark.parametrize("lines", [[part("step_start")], [part("step_start"), finish("tool-calls")], []])
def test_opencode_exit_0_without_a_stop_is_no_success(lines):
    assert opencode(*lines).verdict(0).reason is Reason.AGENT_ERROR


def test_opencode_a_stop_that_was_not_the_last_step_is_none():
    assert not opencode(part("step_start"), finish("stop"), part("step_start")).verdict(0).success
    assert opencode(part("step_start"), finish("stop")).verdict(143).reason is Reason.EXIT_CODE


# ---- qwen


def said(*content, **usage):
    message = {
        "role": "assistant",
        "content": list(content),
        "usage": {"input_tokens": 11, "output_tokens": 7, **usage},
    }
    return {"type": "assistant", "uuid": "m1", "session_id": THREAD, "parent_tool_use_id": None, "message": message}


def result(**more):
    ended = {"type": "result", "subtype": "success", "session_id": THREAD, "is_error": False, "num_turns": 2}
    return {**ended, "result": "done", "usage": {"input_tokens": 44, "output_tokens": 28}, **more}


def qwen(*lines, **given):
    return read("qwen", *lines, **given)


def test_qwen_a_turn_that_succeeds():
    write = {"type": "tool_use", "id": "c1", "name": "write_file", "input": {"file_path": "/r/q.txt", "content": "x"}}
    wrote = {"type": "tool_result", "tool_use_id": "c1", "is_error": False, "content": "Successfully created"}
    reader = qwen(
        {"type": "system", "subtype": "init", "session_id": THREAD},
        said(write),
        {"type": "user", "session_id": THREAD, "message": {"role": "user", "content": [wrote]}},
        said({"type": "text", "text": "done"}),
        result(),
    )
    assert reader.verdict(0).success
    assert (reader.agent_session_id, reader.summary) == (THREAD, "done")
    assert reader.usage == {"input_tokens": 22, "output_tokens": 14, "turns": 2}
    edit = entries_of(reader)[0]
    assert (edit.kind, edit.tool.paths, edit.tool.status) == (
        EntryKind.FILE_EDIT,
        ("/r/q.txt",),
        ToolStatus.COMPLETED,
    )


def qwen_piece(text):
    return {"type": "stream_event", "event": {"type": "content_block_delta", "delta": {"text": text}}}


def test_qwen_an_answer_that_is_asked_for_again_grows_on_in_one_entry():
    retry = {"type": "system", "subtype": "retry", "data": {"reason": "retry", "preserveText": True}}
    reader = qwen(qwen_piece("I wi"), retry, qwen_piece("ll"), qwen_piece("[API Error: 400]"))
    assert [(one.index, one.text) for one in entries_of(reader) if one.kind is EntryKind.ASSISTANT] == [(0, "I will")]
    reader.feed(json.dumps(said({"type": "text", "text": "I will[API Error: 400]"})).encode() + b"\n")
    assert [one.kind for one in entries_of(reader)] == [EntryKind.ERROR], "the text of the answer is unchanged"


@pytest.mark.parametrize(("status", "advised"), [(400, False), (401, True)])
def test_qwen_an_error_of_the_api_is_not_its_words(status, advised):
    text = f"[API Error: {status} scripted]"
    ended = result(subtype="error_during_execution", is_error=True, result=None, error={"message": text})
    reader = qwen(qwen_piece(text), said({"type": "text", "text": text}), ended)
    verdict = reader.verdict(1)
    assert verdict.reason is Reason.AGENT_ERROR
    assert verdict.message.startswith(text)
    assert ("OPENAI_API_KEY" in verdict.message) is advised
    assert reader.summary is None
    assert EntryKind.ASSISTANT not in {entry.kind for entry in entries_of(reader)}


# ---- all of them


@pytest.mark.parametrize(
    ("executor", "known", "stderr"),
    [
        (
            "codex",
            THREAD,
            b"Error: thread/resume: thread/resume failed: no rollout found for thread id x (code -32600)",
        ),
        ("opencode", SES, b"\x1b[91m\x1b[1mError: \x1b[0mSession not found"),
        ("qwen", THREAD, b"No saved session found with ID x. Run `qwen --resume` without an ID"),
    ],
)
def test_a_conversation_that_is_not_known_is_told_and_no_other_early_end_is_taken_for_it(executor, known, stderr):
    verdict = read(executor, resumed=known).verdict(1, stderr)
    assert verdict.reason is Reason.CANNOT_RESUME
    assert known in verdict.message
    other = read(executor, resumed=known).verdict(1, b"error: unknown option '--no-such-flag'\n")
    assert (other.reason, "--no-such-flag" in other.message) == (Reason.EXIT_CODE, True)
    assert read(executor).verdict(1).reason is Reason.EXIT_CODE
    assert read(executor, resumed=known).verdict(143).reason is Reason.EXIT_CODE


@pytest.mark.parametrize(
    ("executor", "lines"),
    [
        ("codex", [*STARTED, ANSWER, COMPLETED]),
        ("opencode", [part("step_start"), finish("stop")]),
        ("qwen", [said({"type": "text", "text": "x"}), result()]),
    ],
)
def test_a_new_conversation_is_no_resumed_one(executor, lines):
    verdict = read(executor, *lines, resumed=OTHER).verdict(0)
    assert verdict.reason is Reason.CANNOT_RESUME
    assert "instead of" in verdict.message
