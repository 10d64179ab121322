import json
import shlex

import pytest

from relay_core.domain.agents.executors import check_executor
from relay_core.domain.errors import InvalidInput, StepFailed
from relay_core.domain.vocabulary import Reason
from relay_workers.agents import programs
from relay_workers.agents.port import TurnRequest
from relay_workers.agents.registry import get_executor

SESSION = "a2c28c7a-3fd9-482d-ae62-791d5dd6ab98"


def claude_words(**given):
    plan = get_executor("claude-code").plan(TurnRequest("fix it", **given))
    script = plan.script.decode()
    assert script.startswith("exec ")
    return shlex.split(script)[1:], plan


def test_claude_code_starts_with_the_documented_flags_and_the_prompt_on_stdin():
    line, plan = claude_words()
    assert line[:5] == ["claude", "-p", "--output-format", "stream-json", "--verbose"]
    assert line[5:] == ["--include-partial-messages", "--dangerously-skip-permissions"]
    assert plan.stdin == b"fix it"
    assert plan.env == {"DISABLE_AUTOUPDATER": "1", "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1"}


def test_claude_code_says_that_root_is_in_a_sandbox():
    assert claude_words(as_root=True)[1].env["IS_SANDBOX"] == "1"


def test_claude_code_resumes_plans_and_takes_a_model():
    line, _ = claude_words(resume_session_id=SESSION, permission_mode="plan", model="opus")
    assert line[6:] == ["--permission-mode", "plan", "--model", "opus", "--resume", SESSION]


def test_claude_codes_program_can_be_replaced_by_words():
    line, _ = claude_words(command="'/opt/my tools/claude' --debug")
    assert line[:3] == ["/opt/my tools/claude", "--debug", "-p"]


@pytest.mark.parametrize(
    ("command", "needed"),
    [
        (None, ("claude",)),
        ("ccr code", ("ccr",)),
        ("/opt/claude", ("/opt/claude",)),
        ("./node_modules/.bin/claude", ()),
    ],
)
def test_the_program_is_looked_for_before_the_clone_unless_it_is_in_the_clone(command, needed):
    assert get_executor("claude-code").required_programs(TurnRequest("x", command)) == needed


@pytest.mark.parametrize(
    "given",
    [
        {"prompt": " \n"},
        {"prompt": "\ud800"},
        {"resume_session_id": "--help"},
        {"resume_session_id": SESSION + "\n"},
        {"command": "'"},
    ],
)
def test_claude_code_refuses_what_would_mean_something_else(given):
    with pytest.raises(InvalidInput):
        get_executor("claude-code").plan(TurnRequest(**{"prompt": "x", **given}))


def acp_turn(**given):
    plan = get_executor("acp").plan(TurnRequest("fix it", **{"command": "gemini --acp", **given}))
    return json.loads(eval(plan.script.decode().rpartition("main(")[2].removesuffix(")\n"))), plan


def test_acp_is_a_program_of_its_own_with_the_turn_at_its_end():
    turn, plan = acp_turn(args=("-m", "it's"), resume_session_id="s'1", model="big", permission_mode="plan")
    assert plan.script.startswith(b"#!/opt/agents/acp/bin/python -IB\n")
    compile(plan.script, "step", "exec")
    assert b"fix it" not in plan.script
    assert plan.stdin == b"fix it"
    assert turn["command"] == ["gemini", "--acp", "-m", "it's"]
    assert (turn["session_id"], turn["mode"], turn["model"], turn["effort"]) == ("s'1", "plan", "big", None)


@pytest.mark.parametrize(
    ("command", "needed"),
    [("gemini --acp", ("gemini",)), ("/opt/x acp", ("/opt/x",)), ("./agent", ())],
)
def test_acp_needs_its_library_and_the_agent(command, needed):
    assert get_executor("acp").required_programs(TurnRequest("x", command)) == (programs.ACP_PYTHON, *needed)


@pytest.mark.parametrize(
    "given",
    [
        {"prompt": " "},
        {"command": None},
        {"command": "'"},
        {"resume_session_id": ""},
        {"resume_session_id": "a\n"},
    ],
)
def test_acp_refuses_what_cannot_be(given):
    with pytest.raises(InvalidInput):
        get_executor("acp").plan(TurnRequest(**{"prompt": "x", "command": "a", **given}))


def test_shell_runs_the_command_as_it_is():
    choice = check_executor({"name": "shell", "command": "cat >notes.md\n# 'quoted' $HOME"})
    request = TurnRequest.of(choice, "grüße\0\n")
    plan = get_executor("shell").plan(request)
    assert plan.script == b"cat >notes.md\n# 'quoted' $HOME\n"
    assert plan.stdin == "grüße\0\n".encode()
    assert plan.env == {}
    assert get_executor("shell").required_programs(request) == ()


@pytest.mark.parametrize("given", [{"command": None}, {"command": "  "}, {"command": "\ud800"}])
def test_shell_needs_a_command(given):
    with pytest.raises(InvalidInput):
        get_executor("shell").plan(TurnRequest("x", **given))


def test_a_missing_program_says_what_to_do():
    programs.require("busybox", b"")
    with pytest.raises(StepFailed, match="busybox has no program 'claude': build") as caught:
        programs.require("busybox", b"claude\n")
    assert caught.value.reason == Reason.PROGRAM_MISSING
    with pytest.raises(StepFailed, match="'/opt/x', 'y': install"):
        programs.require("busybox", b"/opt/x\ny\n")
    with pytest.raises(StepFailed, match="relay image build acp gemini --from busybox"):
        programs.require("busybox", b"/opt/agents/acp/bin/python\ngemini\n")
