"""The driver as it is shipped, against a small agent of our own (tests/support/acp_agent.py)."""

import json
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from relay_core.domain.agents.conversation import EntryKind, ToolStatus
from relay_core.domain.vocabulary import Reason
from relay_workers.agents.port import TurnRequest
from relay_workers.agents.registry import get_executor

AGENT = Path(__file__).parents[3] / "support" / "acp_agent.py"
MEGABYTES = 5_000_000


class Run:
    """One turn in its own process; ``watch`` sees each line while the driver is alive."""

    def __init__(self, folder, prompt, *, arguments=(), command=None, watch=None, **given):
        agent = get_executor("acp")
        command = command or shlex.join([sys.executable, str(AGENT), "sessions", *arguments])
        request = TurnRequest(prompt, command, **given)
        plan = agent.plan(request)
        (folder / "step").write_bytes(plan.script)
        self.reader, self.lines, self.entries = agent.reader(request), [], {}
        with subprocess.Popen(
            [sys.executable, "-IB", "step"], cwd=folder, stdin=-1, stdout=-1, stderr=-1, env={"KEY": "1"}
        ) as driver:
            driver.stdin.write(plan.stdin)
            driver.stdin.close()
            for line in driver.stdout:
                self.lines.append(json.loads(line))
                self.reader.feed(line)
                if watch:
                    watch(self.lines[-1], driver)
            self.stderr = driver.stderr.read().decode()
        self.code = driver.returncode
        self.verdict = self.reader.verdict(self.code)
        for entry in self.reader.entries():
            self.entries[entry.index] = entry

    @property
    def outcome(self):
        return self.code, self.verdict.success, self.verdict.reason

    def tool(self):
        return next(entry for entry in self.entries.values() if entry.tool)


def test_a_turn_with_its_words_and_usage(tmp_path):
    run = Run(tmp_path, "hello " * 40_000)
    assert run.outcome == (0, True, None)
    assert run.reader.summary == "240000 characters, grüße ?"
    assert run.reader.agent_session_id == "s1"
    assert run.reader.usage == {"input_tokens": 3, "output_tokens": 4}


@pytest.mark.parametrize(
    ("mode", "chosen", "status"),
    [
        (None, "id-allow_once", ToolStatus.COMPLETED),
        ("auto", "id-allow_once", ToolStatus.COMPLETED),
        ("reject", "id-reject_once", ToolStatus.FAILED),
        ("plan", "id-reject_once", ToolStatus.FAILED),
    ],
)
def test_permission_is_given_as_the_mode_says(tmp_path, mode, chosen, status):
    run = Run(tmp_path, "ask", permission_mode=mode)
    assert run.reader.summary == f"permission: {chosen}"
    assert (tmp_path / "x.txt").exists() == (status is ToolStatus.COMPLETED)
    tool = run.tool()
    assert (tool.kind, tool.tool.name, tool.tool.status) == (
        EntryKind.FILE_EDIT if status is ToolStatus.COMPLETED else EntryKind.TOOL_CALL,
        "write x.txt",
        status,
    )
    assert tool.tool.result == ("" if status is ToolStatus.COMPLETED else "Permission was refused.")


def test_mode_and_model_are_set_before_the_prompt(tmp_path):
    run = Run(tmp_path, "hello", permission_mode="plan", model="big")
    assert run.verdict.success
    assert (tmp_path / "settings").read_text() == "session/set_mode plan\nsession/set_config_option big\n"
    assert "before the turn" not in run.reader.summary


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"permission_mode": "yolo"}, "no mode 'yolo'; there are: code, plan, default"),
        ({"permission_mode": "reject", "arguments": ("--no-asking",)}, "no mode in which it asks before it acts among"),
        ({"model": "small"}, "no model 'small'; there are: big"),
        ({"reasoning_effort": "high"}, "no thought_level 'high': it offers no choice"),
    ],
)
def test_what_the_agent_does_not_have_fails_the_turn_before_it_begins(tmp_path, given, words):
    run = Run(tmp_path, "ask", **given)
    assert run.outcome == (1, False, Reason.AGENT_ERROR)
    assert words in run.verdict.message
    assert not (tmp_path / "x.txt").exists()


def test_what_was_not_offered_is_refused(tmp_path):
    assert Run(tmp_path, "files").reader.summary == "Method not found"


def test_a_line_of_megabytes(tmp_path):
    run = Run(tmp_path, f"flood {MEGABYTES}")
    assert run.verdict.success
    assert max(len(line["update"]["content"]["text"]) for line in run.lines if line["type"] == "update") == MEGABYTES
    assert run.reader.summary.startswith("xxx")


def test_reject_chooses_a_mode_in_which_the_agent_asks(tmp_path):
    assert Run(tmp_path, "ask", permission_mode="reject").verdict.success
    assert (tmp_path / "settings").read_text() == "session/set_mode default\n"


def test_a_line_that_is_json_and_no_object_does_not_end_the_turn(tmp_path):
    run = Run(tmp_path, "odd")
    assert (run.outcome, run.reader.summary) == ((0, True, None), "went on")
    assert "no message: null" in run.stderr


def test_an_agent_that_dies_in_the_middle(tmp_path):
    run = Run(tmp_path, "die")
    assert run.outcome == (1, False, Reason.AGENT_ERROR)
    assert run.verdict.message == "the agent ended in the middle of its turn (exit code 7)"
    assert run.reader.summary == "so far"


def test_one_that_cannot_start_is_named(tmp_path):
    run = Run(tmp_path, "x", command="/nowhere/agent --acp")
    assert run.outcome == (1, False, Reason.AGENT_ERROR)
    assert run.verdict.message == "/nowhere/agent could not be started: No such file or directory"


@pytest.mark.parametrize(
    ("stop", "words"), [("refusal", "refuses"), ("max_tokens", "limit of tokens"), ("max_turn_requests", "requests")]
)
def test_a_turn_that_was_stopped_did_not_succeed(tmp_path, stop, words):
    run = Run(tmp_path, f"stop {stop}")
    assert run.outcome == (1, False, Reason.AGENT_ERROR)
    assert words in run.verdict.message


def test_an_error_is_in_the_agents_words(tmp_path):
    run = Run(tmp_path, "fail the model is overloaded")
    assert run.outcome == (1, False, Reason.AGENT_ERROR)
    assert run.verdict.message == "Internal error: the model is overloaded"


def test_a_conversation_goes_on_and_its_past_is_not_told_again(tmp_path):
    Run(tmp_path, "hello")
    run = Run(tmp_path, "prompts", resume_session_id="s1")
    assert run.outcome == (0, True, None)
    assert run.reader.summary == "prompts=2"
    assert [entry.text for entry in run.entries.values() if entry.kind is EntryKind.ASSISTANT] == ["prompts=2"]


@pytest.mark.parametrize(
    ("session", "arguments", "words"),
    [("s2", (), "Session not found"), ("s1", ("--no-load",), "cannot go on with an earlier conversation")],
)
def test_one_that_cannot_go_on_is_never_a_new_one(tmp_path, session, arguments, words):
    Run(tmp_path, "hello")
    run = Run(tmp_path, "ask", resume_session_id=session, arguments=arguments)
    assert run.outcome == (1, False, Reason.CANNOT_RESUME)
    assert words in run.verdict.message
    assert run.reader.agent_session_id is None
    assert len((tmp_path / "sessions").read_text().splitlines()) == 1


@pytest.mark.parametrize(("prompt", "last"), [("hang", "end"), ("hang deaf", "error")])
def test_sigterm_cancels_the_turn_and_ends_the_agent(tmp_path, prompt, last):
    def stop(line, driver):
        if line["type"] == "update":
            driver.send_signal(signal.SIGTERM)

    run = Run(tmp_path, prompt, watch=stop)
    assert run.outcome == (143, False, Reason.EXIT_CODE)
    assert run.lines[-1]["type"] == last
    assert run.tool().tool.status is ToolStatus.INTERRUPTED
    assert run.reader.agent_session_id == "s1"
