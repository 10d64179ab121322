"""What the command line makes of words and answers."""

import os
import re
from pathlib import Path
from uuid import UUID

import httpx
import pytest

import relay_cli
from relay_cli.client import check
from relay_cli.commands import workspaces
from relay_cli.commands.run_request import environment, pairs, quantity, remote, secret_names
from relay_cli.commands.secrets import one_line
from relay_cli.errors import CommandFailed
from relay_cli.follow import decisive, exit_code
from relay_core.console import server_sent_events as sse
from relay_core.domain.git.url import RemotePolicy, parse_git_url


def test_events_of_a_stream_cut_off_in_the_middle():
    lines = [": heartbeat", "", "id: 5", 'data: {"a": 1}', "", "event: end", 'data: {"b": 2}', "", "id: 9", "data: {}"]
    assert list(sse.parse(lines)) == [sse.ServerEvent("message", "5", {"a": 1}), sse.ServerEvent("end", None, {"b": 2})]


@pytest.mark.parametrize(
    ("status", "code", "expected"),
    [
        ("completed", 0, 0),
        ("failed", 7, 7),
        ("failed", None, 1),
        ("failed", 0, 1),
        ("failed", 300, 1),
        ("killed", 137, 130),
    ],
)
def test_the_exit_code_follows_the_status(status, code, expected):
    assert exit_code({"status": status, "exit_code": code}) == expected


def test_the_first_unhappy_step_decides():
    good, bad, late = {"status": "completed"}, {"status": "failed"}, {"status": "completed", "late": 1}
    assert decisive(decisive(decisive({}, good), bad), late) is bad
    assert decisive(decisive({}, good), late) is late


def test_pairs():
    assert pairs(["A=b=c", "D="], "--env") == {"A": "b=c", "D": ""}
    with pytest.raises(CommandFailed, match="--env takes NAME=VALUE"):
        pairs(["novalue"], "--env")


def test_a_variable_alone_has_its_value_from_the_environment(monkeypatch):
    monkeypatch.setenv("TEST_KEY", "a=b")
    assert environment(["TEST_KEY", "B=c"], [], []) == {"TEST_KEY": "a=b", "B": "c"}
    assert environment([], ["TEST_KEY"], []) == {"TEST_KEY": {"value": "a=b", "secret": True}}
    with pytest.raises(CommandFailed, match="TEST_NONE is not set in this environment"):
        environment(["TEST_NONE"], [], [])


def test_names_of_secrets():
    assert secret_names(["A", "B=C"]) == {"A": "A", "C": "B"}
    with pytest.raises(CommandFailed, match="--secret gives A twice"):
        secret_names(["A", "B=A"])


def test_the_newline_behind_a_single_line_is_none_of_the_secret():
    assert [one_line(text) for text in ("x\n", "x", "x\ny\n", "\n")] == ["x", "x", "x\ny\n", ""]


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("pids", "3", 3),
        ("cpus", "0.5", 0.5),
        ("memory_bytes", "2g", 2 << 30),
        ("memory_bytes", "512MiB", 512 << 20),
        ("log_bytes", "10kb", 10 << 10),
        ("disk_bytes", "1.5G", 3 << 29),
        ("timeout_seconds", "10m", 600),
        ("no_output_seconds", "90s", 90),
        ("kill_grace_seconds", "0.5", 0.5),
    ],
)
def test_the_quantity_of_a_limit(name, text, value):
    assert quantity(name, text) == value


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("pids", "many"),
        ("pids", "3k"),
        ("timeout_seconds", "2g"),
        ("memory_bytes", "2h"),
        ("memory_bytes", "g"),
        ("cpus", ""),
        ("timeout_seconds", "1e999"),
    ],
)
def test_what_is_no_quantity_is_said_with_the_units_that_there_are(name, text):
    with pytest.raises(CommandFailed, match=f"no number for {name}"):
        quantity(name, text)


def test_remotes(tmp_path):
    assert remote(str(tmp_path)) == f"file://{tmp_path}"
    assert remote("git@example.org:a/b.git") == "git@example.org:a/b.git"
    assert remote("https://example.org/a") == "https://example.org/a"
    for odd in ("per%cent", "per%20cent", "a b#c?d", "ü"):
        (tmp_path / odd).mkdir()
        given = remote(str(tmp_path / odd))
        assert parse_git_url(given, RemotePolicy(allow_file=True)).path == str(tmp_path / odd)
    (tmp_path / os.fsdecode(b"caf\xe9")).mkdir()
    with pytest.raises(CommandFailed, match="not UTF-8"):
        remote(os.fsdecode(bytes(tmp_path) + b"/caf\xe9"))
    for wrong in ("/no/such", "./no-such", "nothing"):
        with pytest.raises(CommandFailed, match="no directory"):
            remote(wrong)


def test_the_client_derives_no_status():
    """T002-19: what an execution came to is read from the API's `status`, never from codes, log text or files."""
    package = Path(relay_cli.__file__).parent
    sources = {path: path.read_text() for path in package.rglob("*.py") if "stack" not in path.parts}
    for path, source in sources.items():
        assert "iterdir" not in source, path
        assert not re.search(r"exit_code[\"']?\]? *(==|!=|<|>)", source), path


class Refusing:
    """An API that answers every call with one problem."""

    def __init__(self, code):
        self.answer = httpx.Response(409, json={"code": code, "detail": "say `run_agent_again: true`"})

    def call(self, *_words, **_options):
        check(self.answer)


@pytest.mark.parametrize(
    ("code", "said"), [("agent_not_confirmed", "relay retry --agent 0"), ("workspace_failed", "run_agent_again")]
)
def test_a_retry_of_an_agent_that_is_refused_names_the_option_of_the_command(monkeypatch, code, said):
    monkeypatch.setattr(workspaces, "connect", lambda: Refusing(code))
    with pytest.raises(CommandFailed, match=said) as refused:
        workspaces.retry(UUID(int=0))
    assert (refused.value.exit_code, refused.value.code) == (2, code)
