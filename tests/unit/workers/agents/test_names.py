import pytest

from relay_core.domain.agents.executors import EXECUTORS, MAX_COMMAND_BYTES, ExecutorChoice, check_executor
from relay_core.domain.errors import InvalidInput
from relay_workers.agents.registry import get_executor


def test_every_name_the_api_accepts_has_an_executor():
    assert set(EXECUTORS) >= {"shell", "claude-code", "acp", "gemini", "aider", "mini"}
    for name in EXECUTORS:
        assert get_executor(name).name == name


@pytest.mark.parametrize("name", ["nonesuch", "", "Shell"])
def test_an_unknown_name_lists_the_known_ones(name):
    with pytest.raises(InvalidInput, match="shell, claude-code"):
        get_executor(name)
    with pytest.raises(InvalidInput, match="shell, claude-code") as caught:
        check_executor({"name": name})
    assert caught.value.field == "executor.name"


def test_a_choice_survives_storing():
    choice = check_executor({"name": "claude-code", "command": "", "variant": "plan"})
    assert choice == ExecutorChoice("claude-code", None, "plan")
    full = {"name": "claude-code", "model": "opus", "args": ["--add-dir", "x"], "env": {"A": "b"}}
    full["permission_mode"] = "plan"
    assert check_executor(check_executor(full).as_json()) == check_executor(full)
    assert check_executor(choice.as_json()) == choice


@pytest.mark.parametrize(
    ("given", "field", "words"),
    [
        ({}, "executor.name", "None is not known"),
        ({"name": ["shell"]}, "executor.name", "is not known"),
        ({"name": "shell"}, "executor.command", "required for shell"),
        ({"name": "shell", "command": " \n"}, "executor.command", "required for shell"),
        ({"name": "shell", "command": 7}, "executor.command", "must be a text"),
        ({"name": "shell", "command": "a\0b"}, "executor.command", "NUL"),
        ({"name": "shell", "command": "x" * (MAX_COMMAND_BYTES + 1)}, "executor.command", "longer than"),
        ({"name": "acp"}, "executor.command", "required for acp"),
        ({"name": "shell", "command": "true", "model": "opus"}, "executor.model", "no model"),
        ({"name": "shell", "command": "true", "permission_mode": "plan"}, "executor.permission_mode", "are: auto"),
        ({"name": "claude-code", "permission_mode": "yolo"}, "executor.permission_mode", "there are: auto, plan"),
        ({"name": "claude-code", "reasoning_effort": "x"}, "executor.reasoning_effort", "there are: low"),
        ({"name": "qwen", "reasoning_effort": "x"}, "executor.reasoning_effort", "none to choose"),
        ({"name": "claude-code", "model": "--help"}, "executor.model", "not a model's name"),
        ({"name": "claude-code", "args": "x"}, "executor.args", "list"),
        ({"name": "claude-code", "args": [1]}, "executor.args", "text"),
        ({"name": "claude-code", "env": ["A"]}, "executor.env", "table"),
        ({"name": "claude-code", "env": {"A=B": "x"}}, "executor.env", "variable's name"),
        ({"name": "claude-code", "command": "it's"}, "executor.command", "quotation"),
        ({"name": "claude-code", "command": "'' x"}, "executor.command", "names no program"),
        ({"name": "shell", "command": "true", "image": {}}, "executor", "executor.image is not a field"),
    ],
)
def test_a_wrong_choice_names_its_field(given, field, words):
    with pytest.raises(InvalidInput, match=words) as caught:
        check_executor(given)
    assert caught.value.field == field


PLANS = [
    ("claude-code", ["--dangerously-skip-permissions"]),
    ("claude-code", ["--permission-mode=acceptEdits"]),
    ("claude-code", ["--allowedTools", "Edit"]),
    ("aider", ["--edit-format", "diff"]),
    ("aider", ["--chat-m", "code"]),
    ("opencode", ["--agent", "build"]),
    ("qwen", ["-y"]),
    ("gemini", ["--approval-mode", "yolo"]),
]


@pytest.mark.parametrize(("name", "args"), PLANS)
def test_a_plan_holds_whatever_arguments_say(name, args):
    with pytest.raises(InvalidInput, match="might take the permission mode 'plan'") as caught:
        check_executor({"name": name, "permission_mode": "plan", "args": args})
    assert caught.value.field == "executor.args"
    with pytest.raises(InvalidInput, match="might take") as caught:
        check_executor({"name": name, "permission_mode": "plan", "command": f"agent {' '.join(args)}"})
    assert caught.value.field == "executor.command"
    assert check_executor({"name": name, "args": args}).args == tuple(args)


@pytest.mark.parametrize("mode", ["plan", "reject"])
@pytest.mark.parametrize(
    "command",
    [
        "gemini --acp --yolo",
        "qwen --acp --allowed-tools=Edit",
        "codex-acp -c approval_policy=never",
        "codex-acp -c=sandbox_mode=x",
    ],
)
def test_an_acp_agents_mode_holds_whatever_its_command_line_says(mode, command):
    with pytest.raises(InvalidInput, match="might take"):
        check_executor({"name": "acp", "permission_mode": mode, "command": command})
    assert check_executor({"name": "acp", "command": command})
    assert check_executor({"name": "acp", "permission_mode": mode, "command": "gemini --acp -m gemini-2.5-pro"})
