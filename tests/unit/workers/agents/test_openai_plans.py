"""The scripts of codex, opencode and qwen, run with a stand-in for their program that prints its arguments."""

import json
import os
import subprocess
from pathlib import Path

import pytest

from relay_core.domain.errors import InvalidInput
from relay_workers.agents.port import TurnRequest
from relay_workers.agents.registry import get_executor

SESSION = "019aa4f2-94d1-7a51-9b2c-8b3d2b2c7b11"
AGENTS = ("codex", "opencode", "qwen")


@pytest.fixture
def started(tmp_path: Path):
    """Runs a plan; gives the program's arguments, its standard input and its environment."""

    def start(executor, environment=None, **given):
        program = tmp_path / executor
        program.write_text('#!/bin/sh\nprintf "%s\\0" "$@" >args; cat >in; env -0 >env\n')
        program.chmod(0o755)
        plan = get_executor(executor).plan(TurnRequest(**{"prompt": "fix it", **given}))
        env = {"PATH": f"{tmp_path}:{os.environ['PATH']}", **plan.env, **(environment or {})}
        subprocess.run(["/bin/sh", "-c", plan.script], input=plan.stdin, cwd=tmp_path, env=env, check=True)
        seen = dict(pair.split("=", 1) for pair in (tmp_path / "env").read_text().split("\0")[:-1])
        return (tmp_path / "args").read_text().split("\0")[:-1], (tmp_path / "in").read_bytes(), seen

    return start


QUIET = ["-c", "analytics.enabled=false", "-c", "check_for_update_on_startup=false"]
BYPASS = ["--dangerously-bypass-approvals-and-sandbox", *QUIET, "-c", "features.shell_snapshot=false"]


def test_codex_reads_the_prompt_and_keeps_its_own_provider(started):
    args, stdin, env = started("codex")
    assert args == ["exec", "--json", "--skip-git-repo-check", *BYPASS, "-"]
    assert stdin == b"fix it"
    assert "CODEX_API_KEY" not in env


def test_codex_gets_the_address_and_the_key_of_the_run(started):
    args, _, env = started("codex", {"OPENAI_BASE_URL": "http://x:1/v1", "OPENAI_API_KEY": "k"}, args=("--debug me",))
    assert args[-12:] == [
        "--debug me",
        *("-c", "model_provider=relay", "-c", "model_providers.relay.name=relay"),
        *("-c", "model_providers.relay.base_url=http://x:1/v1"),
        *("-c", "model_providers.relay.env_key=OPENAI_API_KEY", "-c", "model_providers.relay.wire_api=responses"),
        "-",
    ]
    assert env["CODEX_API_KEY"] == "k"
    assert started("codex", {"OPENAI_API_KEY": "k", "CODEX_API_KEY": "own"})[2]["CODEX_API_KEY"] == "own"


def test_codex_resumes_and_thinks(started):
    args, _, _ = started("codex", model="gpt-5", reasoning_effort="high", resume_session_id=SESSION)
    assert args == [
        *("exec", "resume", "--json", "--skip-git-repo-check"),
        *BYPASS,
        *("-m", "gpt-5", "-c", "model_reasoning_effort=high", SESSION, "-"),
    ]


def test_qwen_reads_the_prompt(started):
    args, stdin, env = started("qwen")
    assert args == ["--output-format", "stream-json", "--include-partial-messages", "--yolo"]
    assert (stdin, env["QWEN_CODE_SUPPRESS_YOLO_WARNING"]) == (b"fix it", "1")


def test_qwen_resumes_plans_and_takes_a_key(started):
    given = {"permission_mode": "plan", "model": "coder", "resume_session_id": SESSION, "args": ("--debug",)}
    args, _, _ = started("qwen", {"OPENAI_API_KEY": "k"}, **given)
    assert args[3:5] == ["--approval-mode", "plan"]
    assert args[5:] == ["--model", "coder", "--resume", SESSION, "--debug", "--auth-type", "openai"]


def test_opencode_reads_the_prompt_and_keeps_its_own_provider(started):
    args, stdin, env = started("opencode", model="anthropic/claude-sonnet-4-5")
    assert args == [
        "run",
        "--format",
        "json",
        "--thinking",
        "--model",
        "anthropic/claude-sonnet-4-5",
        "--title",
        "Relay",
    ]
    assert stdin == b"fix it"
    assert json.loads(env["OPENCODE_CONFIG_CONTENT"])["permission"] == "allow"
    assert "provider" not in env["OPENCODE_CONFIG_CONTENT"]


@pytest.mark.parametrize(("model", "own"), [("m-1", "m-1"), ("relay/vendor/m", "vendor/m")])
def test_opencode_serves_a_model_at_the_address_of_the_run(started, model, own):
    args, _, env = started("opencode", {"OPENAI_API_KEY": "secret"}, model=model)
    assert args[4:] == ["--model", f"relay/{own}", "--title", "Relay"]
    config = json.loads(env["OPENCODE_CONFIG_CONTENT"])
    sees = {"attachment": True, "modalities": {"input": ["text", "image"], "output": ["text"]}}
    assert config["provider"]["relay"]["models"] == {own: {"name": own, **sees}}
    assert config["provider"]["relay"]["env"] == ["OPENAI_API_KEY"]
    assert "secret" not in env["OPENCODE_CONFIG_CONTENT"]


def test_opencode_resumes_plans_and_thinks(started):
    given = {"permission_mode": "plan", "reasoning_effort": "high", "resume_session_id": "ses_4a1B"}
    args, _, _ = started("opencode", **given, args=("--print-logs",))
    assert args[4:] == ["--agent", "plan", "--variant", "high", "--session", "ses_4a1B", "--print-logs"]


@pytest.mark.parametrize("executor", AGENTS)
def test_the_program_can_be_replaced_by_words(executor):
    request = TurnRequest("x", command="'/opt/my tools/agent' --debug")
    assert get_executor(executor).required_programs(request) == ("/opt/my tools/agent",)
    assert b"'/opt/my tools/agent' --debug" in get_executor(executor).plan(request).script
    assert get_executor(executor).required_programs(TurnRequest("x", command="bin/agent")) == ()
    assert get_executor(executor).required_programs(TurnRequest("x")) == (executor,)


@pytest.mark.parametrize("executor", AGENTS)
@pytest.mark.parametrize(
    ("given", "field"),
    [
        ({"prompt": " \n"}, "prompt"),
        ({"prompt": "\ud800"}, "prompt"),
        ({"resume_session_id": "--help"}, "session_id"),
        ({"resume_session_id": f"{SESSION}\n"}, "session_id"),
        ({"resume_session_id": ""}, "session_id"),
        ({"args": ("a", "\ud800")}, "executor.args"),
        ({"command": "'"}, "executor.command"),
    ],
)
def test_what_would_mean_something_else_is_refused(executor, given, field):
    with pytest.raises(InvalidInput) as caught:
        get_executor(executor).plan(TurnRequest(**{"prompt": "x", **given}))
    assert caught.value.field == field
