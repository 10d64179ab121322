"""Which agent's image `relay run` offers to build, and what it asks."""

import io
import sys
from pathlib import Path
from typing import Any

import pytest

from relay_cli import agent_image, agent_image_build
from relay_cli.agent_image import agent_without_image
from relay_cli.commands.run_body import _executor

OPTIONS = ("image", "project", "command", "no_job_file", "repo", "executor", "variant", "model", "reasoning_effort")


def given(**options: Any) -> dict[str, Any]:
    return {**dict.fromkeys((*OPTIONS, "permission_mode")), **options}


@pytest.fixture
def repo(tmp_path: Path) -> Path:
    (tmp_path / ".git").mkdir()
    (tmp_path / "src").mkdir()
    return tmp_path


@pytest.mark.parametrize(
    ("options", "file", "agent"),
    [
        ({}, None, "claude-code"),
        ({"executor": "codex"}, None, "codex"),
        ({}, '[executor]\nname = "qwen"', "qwen"),
        ({"executor": "codex"}, '[executor]\nname = "qwen"', "codex"),
        ({}, 'image = "mine"', None),
        ({"no_job_file": True}, 'image = "mine"', "claude-code"),
        ({}, "no TOML", "claude-code"),
        ({"image": "mine"}, None, None),
        ({"project": "shop"}, None, None),
        ({"command": "make"}, None, None),
    ],
)
def test_the_agent_of_a_run_for_which_nothing_names_an_image(repo: Path, options, file, agent):
    if file is not None:
        (repo / "relay.toml").write_text(file)
    assert agent_without_image(given(repo=[str(repo / "src")], **options)) == agent


def test_a_repository_elsewhere_has_a_job_file_that_is_not_known_yet():
    assert agent_without_image(given(repo=["https://git.example.org/a.git"])) == "claude-code"


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(("answer", "agreed"), [("\n", True), ("y\n", True), ("n\n", False)])
def test_a_person_at_a_terminal_is_asked(monkeypatch: pytest.MonkeyPatch, answer: str, agreed: bool):
    said = Terminal()
    monkeypatch.setattr(sys, "stdin", Terminal(answer))
    monkeypatch.setattr(sys, "stderr", said)
    assert agent_image._agrees("codex", "relay-codex:latest") is agreed
    assert "codex runs in relay-codex:latest, which is not on this machine. Build it now" in said.getvalue()


def test_without_a_terminal_the_command_that_builds_it_is_printed(capsys, monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.StringIO("y\n"))
    assert agent_image._agrees("codex", "relay-codex:latest") is False
    assert "`relay image build codex`" in capsys.readouterr().err


def test_an_agent_without_an_image_of_its_own_is_not_offered(tmp_path: Path):
    def ask(*_: str) -> bool:
        raise AssertionError

    agent_image_build.offer_build("shell", tmp_path, ask)


@pytest.mark.parametrize(
    ("options", "executor"),
    [
        ({}, {}),
        ({"command": "make"}, {"name": "shell", "command": "make"}),
        ({"model": "opus"}, {"name": "claude-code", "model": "opus"}),
        ({"executor": "codex"}, {"name": "codex"}),
    ],
)
def test_a_request_names_an_executor_only_where_an_option_does(options, executor):
    assert _executor(given(**options)) == executor
