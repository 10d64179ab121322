"""Lines as 2.1.329 prints them, without the fields that nobody reads."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay_core.domain.agents.conversation import EntryKind
from relay_core.domain.vocabulary import Reason
from relay_workers.agents.claude_code.reader import ClaudeReader
from relay_workers.agents.shared.json_lines import JsonLines
from relay_workers.agents.shared.plain_text import MAX_BYTES

SID = "a2c28c7a-3fd9-482d-ae62-791d5dd6ab98"
OTHER = "00000000-0000-4000-8000-000000000000"


def line(**fields):
    return json.dumps({"session_id": SID, **fields}).encode() + b"\n"


def said(text, uuid="m1", **more):
    message = {"role": "assistant", "content": [{"type": "text", "text": text}]}
    return line(**{"type": "assistant", "message": message, "parent_tool_use_id": None, "uuid": uuid, **more})


def result(**more):
    ended = {"subtype": "success", "is_error": False, "result": "All done.", "num_turns": 2, "duration_ms": 399}
    used = {"input_tokens": 22, "output_tokens": 14, "cache_read_input_tokens": 0, "service_tier": "standard"}
    return line(**{**ended, "total_cost_usd": 0.25, "usage": used, "type": "result", **more})


INIT = line(type="system", subtype="init", cwd="/workspace/repos/r")
TOOL = line(type="user", message={"role": "user", "content": [{"type": "tool_result", "content": "ok ✓"}]})
API_ERROR = {"is_api_error_message": True, "error": "unknown", "api_error_status": 400}


def read(*lines):
    reader = ClaudeReader()
    for piece in lines:
        reader.feed(piece)
    return reader


def test_a_turn_that_succeeds():
    reader = read(INIT, said("I will write", "m1"), TOOL, said("All done.", "m2"), result())
    assert reader.verdict(0).success
    assert reader.agent_session_id == SID
    assert reader.agent_message_id == "m2"
    assert reader.summary == "All done."
    assert reader.usage == {
        "input_tokens": 22,
        "output_tokens": 14,
        "cache_read_input_tokens": 0,
        "cost_usd": 0.25,
        "turns": 2,
        "duration_ms": 399,
    }


@given(st.lists(st.integers(1, 400), max_size=30))
def test_pieces_do_not_matter(sizes):
    stream = b"".join([INIT, said("grüße €", "m1"), b"\xff\xfe no JSON\n[1]\n\n", TOOL, result(result="grüße €")])
    reader = ClaudeReader()
    for size in sizes:
        reader.feed(stream[:size])
        stream = stream[size:]
    reader.feed(stream.removesuffix(b"\n"))
    assert reader.verdict(0).success
    assert (reader.agent_session_id, reader.summary) == (SID, "grüße €")


NOT_ASKED = {"num_turns": 0, "usage": {"input_tokens": 0, "output_tokens": 0}, "model_usage_since_last_result": {}}


def test_a_command_of_its_own_that_no_model_has_seen_is_no_success():
    verdict = read(INIT, said("/exit isn't available"), result(result="/exit isn't available", **NOT_ASKED)).verdict(0)
    assert (verdict.success, verdict.reason) == (False, Reason.AGENT_ERROR)
    assert "without having asked a model" in verdict.message


def test_a_turn_without_a_word_is_no_success():
    assert read(INIT, result(result="")).verdict(0).reason is Reason.AGENT_ERROR


def edit(call_id, *, failed):
    given = {"type": "tool_use", "id": call_id, "name": "Edit", "input": {"file_path": "/r/a.py"}}
    answer = {"type": "tool_result", "tool_use_id": call_id, "content": "String not found", "is_error": failed}
    return line(type="assistant", message={"content": [given]}) + line(type="user", message={"content": [answer]})


def test_a_turn_of_which_every_edit_failed_is_no_success():
    verdict = read(INIT, edit("1", failed=True), edit("2", failed=True), said("Done!"), result()).verdict(0)
    assert verdict.reason is Reason.AGENT_ERROR
    assert "Edit /r/a.py: String not found" in verdict.message
    assert read(INIT, edit("1", failed=True), edit("2", failed=False), said("Done!"), result()).verdict(0).success
    planned = ClaudeReader(may_write=False)
    planned.feed(INIT + edit("1", failed=True) + said("The plan") + result())
    assert planned.verdict(0).success


def model_usage(**counts):
    return {"model_usage_since_last_result": {"big": counts, "small": {"inputTokens": 1, "costUSD": 0.5}}}


def test_what_was_used_is_the_sum_of_all_results_and_the_cost_of_this_turn():
    sub = {"parent_tool_use_id": "t1", "subagent_type": "Explore", "task_description": "look"}
    counts = {"inputTokens": 55, "outputTokens": 44, "thinkingTokens": 9, "cacheReadInputTokens": 300, "costUSD": 0.25}
    first = result(total_cost_usd=7.5, **model_usage(**counts))
    last = result(total_cost_usd=8.0, num_turns=1, **model_usage(inputTokens=11, outputTokens=10, costUSD=0.125))
    reader = read(INIT, said("main"), said("inside", "m2", **sub), first, said("All done.", "m3"), last)
    assert reader.verdict(0).success
    assert reader.usage == {
        "input_tokens": 68,
        "output_tokens": 45,
        "reasoning_tokens": 9,
        "cache_read_input_tokens": 300,
        "cost_usd": 1.375,
        "turns": 3,
        "duration_ms": 798,
    }
    assert [entry.agent for entry in reader.entries() if entry.text] == [None, "Explore: look", None]


def test_a_killed_turn_has_used_what_its_messages_say():
    usage = {"input_tokens": 11, "output_tokens": 7, "output_tokens_details": {"thinking_tokens": 2}}
    message = {"id": "msg_1", "content": [{"type": "text", "text": "I"}], "usage": usage}
    block = line(type="assistant", message=message)
    reader = read(INIT, block, block, line(type="assistant", message={**message, "id": "msg_2"}))
    reader.verdict(143, stopped=True)
    assert reader.usage == {"input_tokens": 22, "output_tokens": 10, "reasoning_tokens": 4}


def test_cost_is_left_out_where_only_that_of_the_conversation_is_told():
    resumed = ClaudeReader(resumes=True)
    resumed.feed(INIT + said("All done.") + result())
    assert "cost_usd" not in resumed.usage
    assert resumed.usage["input_tokens"] == 22


def test_an_error_that_the_result_tells_again_is_one_entry():
    text = "API Error: 401 no"
    made_up = said(text, is_api_error_message=True, error="authentication_failed")
    reader = read(INIT, made_up, result(is_error=True, result=text))
    reader.verdict(1)
    errors = [entry.text for entry in reader.entries() if entry.kind is EntryKind.ERROR]
    assert len(errors) == 1
    assert errors[0].startswith(f"{text}: give the run")


def test_a_failed_start_has_its_cause_in_the_verdict_and_in_the_conversation():
    reader = read()
    verdict = reader.verdict(1, b"error: unknown option '--no-such-flag'\n")
    assert verdict.reason is Reason.EXIT_CODE
    assert verdict.message == "claude ended with exit code 1: error: unknown option '--no-such-flag'"
    assert [(entry.kind, entry.text) for entry in reader.entries()] == [(EntryKind.ERROR, verdict.message)]


def test_a_kill_is_no_error_and_a_cap_names_the_last_one():
    assert read(INIT).verdict(143, b"", stopped=True).last_error is None
    again = line(type="system", subtype="api_retry", error="overloaded", error_status=529)
    reader = read(INIT, again, again)
    assert reader.verdict(137, stopped=True).last_error == "overloaded (status 529), tried again"
    notice, error = reader.entries()
    assert notice.text == "overloaded (status 529), tried again\n(the same 2 times)"
    assert error.kind is EntryKind.ERROR


def test_an_answer_that_was_cut_short_is_told():
    more = {"isSynthetic": True, "parent_tool_use_id": None}
    told = line(type="user", message={"content": [{"type": "text", "text": "Output token limit hit."}]}, **more)
    stopped = line(type="system", subtype="informational", content="Safeguards stopped the response above")
    reader = read(INIT, said("part"), told, stopped, said("All done."), result())
    reader.verdict(0)
    notices = [entry.text for entry in reader.entries() if entry.kind is EntryKind.NOTICE]
    assert notices == ["Output token limit hit.", "Safeguards stopped the response above"]


def test_an_error_hides_behind_the_subtype_success():
    text = "API Error: 400 scripted"
    ended = result(is_error=True, api_error_status=400, result=text, terminal_reason="api_error")
    reader = read(INIT, said("Before", "m1"), said(text, "m2", **API_ERROR), ended)
    verdict = reader.verdict(1)
    assert (verdict.success, verdict.reason, verdict.message) == (False, Reason.AGENT_ERROR, text)
    assert reader.summary == "Before"
    assert reader.agent_message_id == "m1"
    assert not reader.verdict(0).success


@pytest.mark.parametrize("more", [{"api_error_status": 401}, {}])
def test_a_wrong_key_says_what_to_do(more):
    text = "Not logged in · Please run /login"
    made_up = said(text, is_api_error_message=True, error="authentication_failed")
    verdict = read(INIT, made_up, result(is_error=True, result=text, **more)).verdict(1)
    assert text in verdict.message
    assert "ANTHROPIC_API_KEY" in verdict.message


def test_a_resume_that_failed_gives_no_session_id():
    ended = result(subtype="error_during_execution", is_error=True, result=None, errors=["No conversation found"])
    reader = read(ended)
    assert reader.verdict(1).message == "No conversation found"
    assert reader.agent_session_id is None
    assert reader.summary is None


@pytest.mark.parametrize("more", [{"subtype": "error_max_turns"}, {"is_error": None}])
def test_only_a_clear_success_is_one(more):
    reader = read(INIT, said("Hm"), result(**more))
    assert reader.verdict(0).reason is Reason.AGENT_ERROR


def test_a_turn_ended_by_a_signal_has_no_result_line():
    reader = read(INIT, said("thinking"), TOOL)
    verdict = reader.verdict(143)
    assert verdict.reason is Reason.EXIT_CODE
    assert "signal 15" in verdict.message
    assert (reader.agent_session_id, reader.agent_message_id, reader.summary) == (SID, None, "thinking")


def test_exit_0_without_a_result_line_is_no_success():
    assert read(INIT, said("x")).verdict(0).reason is Reason.AGENT_ERROR


def test_a_result_does_not_outweigh_a_bad_exit_code():
    assert read(INIT, said("x"), result()).verdict(137).reason is Reason.EXIT_CODE


def test_a_conversation_killed_before_an_answer_cannot_be_resumed():
    reader = read(INIT, line(type="system", subtype="api_retry", error="overloaded", error_status=529))
    assert reader.agent_session_id is None
    assert "overloaded (status 529)" in reader.verdict(143).message


def test_nothing_on_stdout_at_all():
    reader = ClaudeReader()
    verdict = reader.verdict(1)
    assert verdict.message == "claude ended with exit code 1"
    assert (reader.summary, reader.usage) == (None, {})


def test_a_subagents_words_are_not_the_agents():
    reader = read(said("mine"), said("sub", parent_tool_use_id="toolu_1"))
    assert reader.summary == "mine"


def test_a_summary_fits_a_commit_and_a_database():
    reader = read(said("x"), result(result="a\0\ud800\x1b[1m" + "€" * 5000))
    assert reader.verdict(0).success
    assert reader.summary.startswith("a€")
    assert len(reader.summary.encode()) <= MAX_BYTES


@pytest.mark.parametrize(
    "junk",
    [
        b'{"type":"assistant","message":7}\n{"type":"assistant","message":{"content":[3,{"type":"text","text":4}]}}\n',
        b'{"type":"result"\n{"type":["result"]}\n',
        b"{" * 5000 + b"\n" + b'{"a":' * 100_000 + b"\n",
        b'{"n":' + b"9" * 5000 + b"}\n",
        b"\x00\xff\n",
    ],
)
def test_junk_is_passed_over(junk):
    reader = read(INIT, junk, said("ok"), result())
    assert reader.verdict(0).success


@pytest.mark.parametrize(
    "fields", [{"usage": None}, {"usage": {"input_tokens": "7"}, "num_turns": True, "total_cost_usd": 10**400}]
)
def test_usage_holds_numbers_only(fields):
    usage = read(result(**fields)).usage
    assert set(usage) <= {"cost_usd", "turns", "duration_ms"}
    assert usage["duration_ms"] == 399


def test_long_lines_are_understood_in_small_pieces():
    text = "\n".join(str(number) for number in range(900_000))
    stream = said("flood") + result(result=text)
    reader = ClaudeReader()
    for start in range(0, len(stream), 4096):
        reader.feed(stream[start : start + 4096])
    assert reader.verdict(0).success
    assert reader.summary.startswith("0\n1\n2\n")


def test_a_line_beyond_the_limit_is_let_go_and_the_next_one_counts():
    lines = JsonLines(max_line_bytes=1000)
    assert list(lines.feed(b'{"a": "' + b"x" * 2000)) == []
    assert sum(map(len, lines._pieces)) <= 1000
    assert list(lines.feed(b'"}\n{"b": 1}\n{"c"')) == [{"b": 1}]
    assert list(lines.feed(b": 2}")) == []
    assert list(lines.finish()) == [{"c": 2}]


def event(kind, delta=None, **more):
    return line(type="stream_event", event={"type": kind, "delta": delta}, parent_tool_use_id=None, **more)


def piece(text):
    return event("content_block_delta", {"type": "text_delta", "text": text})


def texts(reader):
    """The entries that changed, as number, kind and text."""
    return [(one.index, one.kind, one.text) for one in reader.entries()]


def test_a_message_grows_while_the_model_says_it_and_stays_one_entry():
    reader = read(INIT, event("message_start"), piece("\n"), piece("I wi"))
    assert texts(reader) == [(0, EntryKind.ASSISTANT, "I wi")]
    assert (reader.summary, reader.agent_session_id) == (None, None)
    reader.feed(piece("ll") + event("content_block_delta", {"type": "input_json_delta", "partial_json": "{"}))
    assert texts(reader) == [(0, EntryKind.ASSISTANT, "I will")]
    reader.feed(said("\nI will write") + event("content_block_stop"))
    assert texts(reader) == [(0, EntryKind.ASSISTANT, "I will write")]
    reader.feed(event("message_start") + piece("I will write") + said("I will write", "m2"))
    assert texts(reader) == [(1, EntryKind.ASSISTANT, "I will write")]
    assert reader.summary == "I will write"


def test_reasoning_grows_and_is_not_the_answer():
    thinking = event("content_block_delta", {"type": "thinking_delta", "thinking": "hm"})
    whole = line(type="assistant", message={"content": [{"type": "thinking", "thinking": "hm, yes"}]}, uuid="m1")
    reader = read(INIT, event("message_start"), thinking)
    assert texts(reader) == [(0, EntryKind.REASONING, "hm")]
    reader.feed(whole + piece("So") + said("So it is"))
    assert texts(reader) == [(0, EntryKind.REASONING, "hm, yes"), (1, EntryKind.ASSISTANT, "So it is")]


def test_an_answer_that_breaks_off_is_replaced_by_the_one_that_is_asked_for_again():
    retry = line(type="system", subtype="api_retry", error="unknown", error_status=None)
    reader = read(INIT, event("message_start"), piece("I wi"), retry, event("message_start"), piece("We"))
    assert [text for _, kind, text in texts(reader) if kind is EntryKind.ASSISTANT] == ["We"]
    reader.feed(said("We do"))
    assert texts(reader) == [(0, EntryKind.ASSISTANT, "We do")]


def test_what_a_killed_turn_has_said_stays():
    reader = read(INIT, event("message_start"), piece("I wi"))
    assert not reader.verdict(143, stopped=True).success
    assert texts(reader) == [(0, EntryKind.ASSISTANT, "I wi")]


def test_a_subagent_does_not_stream_into_the_agents_message():
    of_subagent = {"type": "stream_event", "parent_tool_use_id": "t1"}
    inside = line(event={"type": "content_block_delta", "delta": {"text": "inside"}}, **of_subagent)
    reader = read(INIT, event("message_start"), piece("I wait"), inside, said("sub", parent_tool_use_id="t1"))
    assert [text for _, _, text in texts(reader)] == ["I wait", "sub"]
