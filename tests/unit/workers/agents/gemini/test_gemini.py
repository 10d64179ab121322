"""The plan for Gemini CLI; and lines as 0.61.0 prints them, without the fields that nobody reads."""

import json
import os
import shlex
import subprocess

import pytest

from relay_core.domain.agents.conversation import EntryKind, ToolStatus
from relay_core.domain.errors import InvalidInput
from relay_core.domain.vocabulary import Reason
from relay_workers.agents.gemini.reader import GeminiReader
from relay_workers.agents.port import TurnRequest
from relay_workers.agents.registry import get_executor
from relay_workers.agents.shared.plain_text import MAX_BYTES

SID = "83ac4835-709a-447a-b3c6-da2a5598b7cc"
ERROR = '[API Error: {"error":{"code":%d,"message":"scripted error %d","status":"%s"}}]'


def plan_of(**given):
    """The words of the program's line, and the plan."""
    plan = get_executor("gemini").plan(TurnRequest(**{"prompt": "fix it", **given}))
    last = plan.script.decode().splitlines()[-1]
    assert last.startswith("exec ")
    return shlex.split(last)[1:], plan


def test_it_starts_with_the_prompt_on_stdin():
    line, plan = plan_of()
    assert line == ["gemini", "--output-format", "stream-json", "--approval-mode", "yolo"]
    assert plan.stdin == b"fix it"
    assert plan.env == {"GEMINI_CLI_TRUST_WORKSPACE": "true", "GEMINI_CLI_NO_RELAUNCH": "true"}


def test_it_resumes_plans_takes_a_model_and_more():
    line, _ = plan_of(resume_session_id=SID, permission_mode="plan", model="gemini-2.5-pro", args=("-e", "it's"))
    assert line[3:] == ["--approval-mode", "plan", "--model", "gemini-2.5-pro", "--resume", SID, "-e", "it's"]


def test_another_program_in_its_place():
    assert plan_of(command="npx 'my gemini'")[0][:3] == ["npx", "my gemini", "--output-format"]
    assert get_executor("gemini").required_programs(TurnRequest("x")) == ("gemini",)
    assert get_executor("gemini").required_programs(TurnRequest("x", "./bin/gemini")) == ()


@pytest.mark.parametrize(
    "given", [{"prompt": " \n"}, {"prompt": "\ud800"}, {"resume_session_id": "latest"}, {"args": ("\ud800",)}]
)
def test_it_refuses_what_would_mean_something_else(given):
    with pytest.raises(InvalidInput):
        plan_of(**given)


def settings_after(home, **env):
    """Runs the script with a program that says what it sees of NODE_OPTIONS; what it wrote and said."""
    _, plan = plan_of(command="env")
    script = plan.script.replace(b"exec env --output-format stream-json --approval-mode yolo", b"exec env")
    given = {"PATH": os.environ["PATH"], "HOME": str(home), **env}
    said = subprocess.run(["sh", "-c", script.decode()], env=given, capture_output=True, check=True).stdout.decode()
    file = home / ".gemini/settings.json"
    return json.loads(file.read_text()) if file.exists() else None, said


def test_settings_are_written_for_who_has_a_key_and_none(tmp_path):
    assert settings_after(tmp_path)[0] is None
    settings, said = settings_after(tmp_path, GEMINI_API_KEY="k", NODE_OPTIONS="--no-warnings")
    assert settings["security"]["auth"]["selectedType"] == "gemini-api-key"
    assert settings["privacy"]["usageStatisticsEnabled"] is False
    assert "NODE_OPTIONS=--no-warnings --import=data:" in said
    (tmp_path / ".gemini/settings.json").write_text("{}")
    assert settings_after(tmp_path, GEMINI_API_KEY="k")[0] == {}
    assert [each.name for each in (tmp_path / ".gemini").iterdir()] == ["settings.json"]


def line(kind, **fields):
    return json.dumps({"type": kind, "timestamp": "2026-11-21T08:37:12.543Z", **fields}).encode() + b"\n"


def said(text):
    return line("message", role="assistant", content=text, delta=True)


def called(command, name="run_shell_command", **more):
    tool_id = "run_shell_command__call_1_0"
    return line("tool_use", tool_name=name, tool_id=tool_id, parameters={"command": command, **more})


def done(output, status="success", **more):
    return line("tool_result", tool_id="run_shell_command__call_1_0", status=status, output=output, **more)


def result(status="success", **more):
    stats = {"total_tokens": 36, "input_tokens": 25, "output_tokens": 14, "cached": 3, "input": 22, "duration_ms": 393}
    return line("result", status=status, stats={**stats, "tool_calls": 1, "models": {"m": {}}}, **more)


INIT = line("init", session_id=SID, model="gemini-2.5-pro")
ASKED = line("message", role="user", content="Add hello\n")


def read(*lines, **given):
    reader = GeminiReader(**given)
    for piece in lines:
        reader.feed(piece)
    return reader


def test_a_turn_that_succeeds():
    reader = read(INIT, ASKED, said("I "), said("will."), called("true"), done("ok"), said("Added "), said("it ✓"))
    assert reader.summary == "Added it ✓"
    reader.feed(result())
    assert reader.verdict(0).success
    assert reader.agent_session_id == SID
    assert reader.usage == {
        "input_tokens": 22,
        "output_tokens": 14,
        "cache_read_input_tokens": 3,
        "duration_ms": 393,
    }
    first, call, last, usage = reader.entries()
    assert (first.kind, first.text) == (EntryKind.ASSISTANT, "I will.")
    assert (call.tool.name, call.tool.status, call.tool.result) == ("run_shell_command", ToolStatus.COMPLETED, "ok")
    assert (last.text, usage.kind) == ("Added it ✓", EntryKind.USAGE)


def test_a_tool_that_writes_is_an_edit_and_a_command_that_fails_is_told():
    written = read(INIT, ASKED, called("", name="write_file", file_path="/r/a.txt"), line("tool_result")).entries()[0]
    assert (written.kind, written.tool.paths) == (EntryKind.FILE_EDIT, ("/r/a.txt",))
    silent = read(INIT, ASKED, called("exit 3"), done("Command exited with code: 3")).entries()[0]
    assert silent.tool.status is ToolStatus.FAILED
    error = {"type": "tool_not_registered", "message": 'Tool "Bash" not found.'}
    unknown = read(INIT, ASKED, called("x", name="Bash"), done(None, "error", error=error)).entries()[0]
    assert (unknown.tool.status, unknown.tool.result) == (ToolStatus.FAILED, 'Tool "Bash" not found.')


@pytest.mark.parametrize(("code", "status"), [(400, "INVALID_ARGUMENT"), (401, "UNAUTHENTICATED")])
def test_an_error_of_the_model(code, status):
    message = ERROR % (code, code, status)
    reader = read(INIT, ASKED, said("Before"), result("error", error={"type": "unknown", "message": message}))
    verdict = reader.verdict(code % 256)
    assert verdict.reason is Reason.AGENT_ERROR
    assert verdict.message.startswith(message)
    assert ("GEMINI_API_KEY" in verdict.message) == (code == 401)
    assert reader.summary == "Before"
    assert EntryKind.ERROR in {entry.kind for entry in reader.entries()}


PIECES = [("half", "2026-11-26T00:29:05.742Z"), ("whole", "2026-11-26T00:29:06.840Z")]


def test_going_in_circles_hides_behind_success_and_exit_code_0():
    warned = line("error", severity="warning", message="Loop detected, stopping execution")
    verdict = read(INIT, ASKED, warned, result()).verdict(0)
    assert (verdict.reason, verdict.message) == (Reason.AGENT_ERROR, "Loop detected, stopping execution")
    other = read(INIT, ASKED, line("error", severity="warning", message="Something"), said("Done"), result())
    assert other.verdict(0).success
    assert EntryKind.NOTICE in {entry.kind for entry in other.entries()}


@pytest.mark.parametrize(
    ("exit_code", "resumes", "reason", "words"),
    [
        (42, True, Reason.CANNOT_RESUME, "no conversation"),
        (42, False, Reason.EXIT_CODE, "42"),
        (41, False, Reason.AGENT_ERROR, "GEMINI_API_KEY"),
        (1, False, Reason.EXIT_CODE, "1"),
        (None, True, Reason.EXIT_CODE, "not known"),
    ],
)
def test_what_ends_before_its_first_line(exit_code, resumes, reason, words):
    reader = read(resumes=resumes)
    verdict = reader.verdict(
        exit_code, b'Error resuming session: Invalid session identifier "x".\n' if resumes else b""
    )
    assert verdict.reason is reason
    assert words in verdict.message
    assert reader.agent_session_id is None


def test_an_answer_that_is_asked_for_again_is_parted_from_what_broke_off():
    half, whole = (line("message", role="assistant", content=word, delta=True, timestamp=at) for word, at in PIECES)
    reader = read(INIT, ASKED, half, whole, result())
    assert (reader.verdict(0).success, reader.summary) == (True, "half\n\nwhole")


def test_tokens_of_reasoning_are_what_the_total_has_more():
    stats = {"total_tokens": 242, "input_tokens": 222, "output_tokens": 14, "cached": 200, "input": 22}
    reader = read(INIT, ASKED, said("ok"), line("result", status="success", stats=stats))
    reader.verdict(0)
    assert reader.usage == {
        "input_tokens": 22,
        "cache_read_input_tokens": 200,
        "output_tokens": 14,
        "reasoning_tokens": 6,
    }


def test_a_bad_input_of_a_resumed_conversation_is_no_missing_one():
    assert read(resumes=True).verdict(42, b"No input provided via stdin.\n").reason is Reason.EXIT_CODE
    assert read(INIT, ASKED, resumes=True).verdict(42).reason is Reason.EXIT_CODE


def test_exit_code_0_without_a_result_is_no_success():
    reader = read(INIT, ASKED, said("thinking"), called("tail -f /dev/null"))
    verdict = reader.verdict(0)
    assert (verdict.reason, reader.summary) == (Reason.AGENT_ERROR, "thinking")
    assert [entry.tool.status for entry in reader.entries() if entry.tool] == [ToolStatus.INTERRUPTED]


def test_an_id_counts_once_the_conversation_is_kept():
    assert read(INIT).agent_session_id is None
    assert read(INIT, ASKED).agent_session_id == SID


def test_a_flood_in_pieces_is_bounded():
    reader = read(INIT, ASKED, *[said("0123456789" * 100)] * 1000, result())
    assert reader.verdict(0).success
    assert len(reader.summary.encode()) <= MAX_BYTES
    assert reader.entries()[0].truncated


def test_fields_of_other_shapes_are_passed_over():
    odd = [line("init", session_id=7), line("message", role="assistant", content=["x"]), line("tool_use", parameters=3)]
    odd += [line("tool_result", tool_id=None), line("error", message=None), line("result", status=1, stats=[], error=3)]
    verdict = read(*odd, b"no JSON\n", b'{"type": []}\n').verdict(0)
    assert verdict.reason is Reason.AGENT_ERROR
