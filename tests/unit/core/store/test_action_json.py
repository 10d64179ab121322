"""The JSON of steps: what is written stays as it was, and rows of older versions are read."""

import pytest

from relay_core.domain.agents.executors import ExecutorChoice, check_executor
from relay_core.domain.chain import Action, RepoScripts, plan_run
from relay_core.domain.errors import InvalidInput
from relay_core.domain.step import AgentStep, CloneStep, DevServerStep, ScriptStep
from relay_core.domain.vocabulary import RunReason
from relay_core.store.executions.action_json import (
    action_from_json,
    action_to_json,
    executor_from_json,
    step_from_json,
    step_to_json,
)

SHELL = ExecutorChoice("shell", "cat", env={"A": "b"})
SHELL_JSON = {
    "name": "shell",
    "command": "cat",
    "variant": None,
    "model": None,
    "reasoning_effort": None,
    "permission_mode": None,
    "args": [],
    "env": {"A": "b"},
}
STEPS = [
    (CloneStep(), {"run_reason": "clone", "repo": None, "cwd": "", "as_root": False}),
    (
        ScriptStep(RunReason.SETUP_SCRIPT, "a", "make", "repos/a", as_root=True),
        {"run_reason": "setup_script", "repo": "a", "cwd": "repos/a", "as_root": True, "script": "make"},
    ),
    (
        DevServerStep("a", "serve", "repos/a"),
        {"run_reason": "dev_server", "repo": "a", "cwd": "repos/a", "as_root": False, "script": "serve"},
    ),
    (
        AgentStep(SHELL, "do it", "repos"),
        {
            "run_reason": "coding_agent",
            "repo": None,
            "cwd": "repos",
            "as_root": False,
            "executor": SHELL_JSON,
            "prompt": "do it",
        },
    ),
    (
        AgentStep(SHELL, "and now", "repos", follow_up=True),
        {
            "run_reason": "coding_agent",
            "repo": None,
            "cwd": "repos",
            "as_root": False,
            "executor": SHELL_JSON,
            "prompt": "and now",
            "follow_up": True,
        },
    ),
]


@pytest.mark.parametrize(("step", "stored"), STEPS)
def test_a_step_is_stored_as_readable_json_and_read_back(step, stored):
    assert step_to_json(step) == stored
    assert step_from_json(stored) == step


def test_a_chain_is_nested_and_read_back():
    action = plan_run([RepoScripts("a", setup_script="s", cleanup_script="c")], SHELL, "p")
    stored = action_to_json(action)
    reasons, group = [stored["step"]["run_reason"]], stored["next_action"]
    while group is not None:
        reasons += [step["run_reason"] for step in group["steps"]]
        group = group["next_action"]
    assert reasons == ["clone", "setup_script", "coding_agent", "cleanup_script"]
    assert action_from_json(stored) == action
    assert action_to_json(Action(CloneStep())) == {"step": STEPS[0][1], "next_action": None}


def test_rows_of_an_older_version_lack_fields():
    shell = {"name": "shell", "command": "cat"}
    old = {"step": {"run_reason": "coding_agent", "cwd": "repos", "executor": shell, "prompt": "p"}}
    assert action_from_json(old) == Action(AgentStep(ExecutorChoice("shell", "cat"), "p", "repos"))
    script = {"run_reason": "cleanup_script", "repo": "a", "script": "c", "cwd": "repos/a"}
    assert step_from_json(script) == ScriptStep(RunReason.CLEANUP_SCRIPT, "a", "c", "repos/a")


def test_a_field_of_a_newer_version_is_kept_and_refused_when_the_agent_is_started():
    choice = executor_from_json({**SHELL_JSON, "sandbox": "strict"})
    assert choice.as_json() == {**SHELL_JSON, "sandbox": "strict"}
    with pytest.raises(InvalidInput, match=r"executor\.sandbox is not a field"):
        check_executor(choice.as_json())
