import pytest

from relay_core.domain.errors import InvalidInput
from relay_core.domain.executor_names import EXECUTORS, MAX_COMMAND_BYTES, ExecutorChoice, check_executor
from relay_workers.executors.registry import get_executor


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
    full = {"name": "claude-code", "model": "opus", "args": ["-x"], "env": {"A": "b"}, "permission_mode": "plan"}
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
        ({"name": "claude-code", "reasoning_effort": "x"}, "executor.reasoning_effort", "none to choose"),
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
