"""`relay down --all` removes the containers of workspaces, so it asks first."""

from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from relay_cli import asking
from relay_cli.commands import stack
from relay_cli.errors import CommandFailed
from relay_cli.main import app
from relay_stack.down import TakedownReport

ENDED = TakedownReport(was_up=True, containers_left=0, containers_removed=2, engine_left=False, engine_stopped=False)


@pytest.fixture
def taken_down(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """The value of `everything` of each call that takes a stack down."""
    calls: list[bool] = []

    def take_down(_: Path, *, everything: bool) -> TakedownReport:
        calls.append(everything)
        return ENDED

    monkeypatch.setattr(stack, "take_down", take_down)
    return calls


class _Terminal:
    """The part of `sys` that says whether there is a terminal."""

    def isatty(self) -> bool:
        return True

    stdin = stderr = property(lambda self: self)


def down(*words: str, answer: str = "") -> Any:
    return CliRunner().invoke(app, ["down", *words], input=answer, catch_exceptions=False)


def test_without_a_terminal_it_needs_yes(taken_down):
    with pytest.raises(CommandFailed, match="without a terminal to ask at, add --yes") as refused:
        down("--all")
    assert refused.value.exit_code == 2
    assert taken_down == []
    assert "Removed 2 containers" in down("--all", "--yes").stderr
    assert taken_down == [True]


def test_on_a_terminal_it_asks(taken_down, monkeypatch):
    monkeypatch.setattr(asking, "sys", _Terminal())
    with pytest.raises(CommandFailed, match="nothing was deleted"):
        down("--all", answer="n\n")
    assert taken_down == []
    asked = down("--all", answer="y\n")
    assert "remove the containers of all its workspaces (their files stay)?" in asked.stderr
    assert taken_down == [True]


def test_a_plain_stop_asks_nothing(taken_down):
    down()
    assert taken_down == [False]
