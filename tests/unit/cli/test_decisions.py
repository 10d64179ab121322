"""What the command line makes of words and answers."""

import os
import re
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest
import typer

import relay_cli
from relay_cli import exit_codes
from relay_cli.client import check
from relay_cli.commands import workspaces
from relay_cli.commands.ids import parse_id
from relay_cli.commands.run_list import since_time
from relay_cli.commands.run_request import environment, limits, pairs, quantity, remote, secret_names
from relay_cli.commands.secrets import one_line
from relay_cli.errors import CommandFailed
from relay_cli.local_repo import uncommitted
from relay_core.console import server_sent_events as sse
from relay_core.domain.git.url import RemotePolicy, parse_git_url
from relay_core.domain.run import conclusion_of
from relay_core.domain.vocabulary import Reason
from tests.support.relay import git, make_repo


def test_events_of_a_stream_cut_off_in_the_middle():
    lines = [": heartbeat", "", "id: 5", 'data: {"a": 1}', "", "event: end", 'data: {"b": 2}', "", "id: 9", "data: {}"]
    assert list(sse.parse(lines)) == [sse.ServerEvent("message", "5", {"a": 1}), sse.ServerEvent("end", None, {"b": 2})]


@pytest.mark.parametrize(
    ("conclusion", "reason", "code", "expected"),
    [
        ("success", None, 0, 0),
        ("failure", "exit_code", 7, 7),
        ("failure", "exit_code", 125, 125),
        ("failure", "agent_error", 0, 1),
        ("failure", "agent_error", 3, 3),
        ("failure", "exit_code", None, 1),
        ("failure", "exit_code", 300, 1),
        ("failure", "clone_failed", None, 125),
        ("failure", "oom", 137, 125),
        ("failure", "a_reason_of_a_later_version", None, 125),
        ("cancelled", "user", 137, 130),
        ("timed_out", "timeout", 143, 124),
        ("timed_out", "clone_timeout", None, 124),
        ("lost", "node_lost", None, 125),
    ],
)
def test_the_exit_code_follows_the_conclusion(conclusion, reason, code, expected):
    assert exit_codes.of_run({"conclusion": conclusion, "reason": reason, "exit_code": code}) == expected
    status = "completed" if conclusion == "success" else "failed"
    assert exit_codes.of_execution({"status": status, "reason": reason, "exit_code": code}) == expected


@pytest.mark.parametrize("reason", list(Reason))
def test_every_reason_has_the_same_exit_code_for_a_run_and_for_its_step(reason):
    run = {"conclusion": conclusion_of(reason).value, "reason": reason, "exit_code": 7}
    assert exit_codes.of_run(run) == exit_codes.of_execution({"status": "failed", "reason": reason, "exit_code": 7})


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


def test_the_unit_in_the_name_of_a_limit_may_be_left_out():
    given = ["memory=2g", "timeout=10m", "kill-grace=5s", "cpus=0.5", "disk_bytes=1g"]
    assert limits(given) == {
        "memory_bytes": 2 << 30,
        "timeout_seconds": 600,
        "kill_grace_seconds": 5,
        "cpus": 0.5,
        "disk_bytes": 1 << 30,
    }
    with pytest.raises(CommandFailed, match="--limit knows no 'ram'; the limits are memory, cpus, pids"):
        limits(["ram=2g"])


def test_remotes(tmp_path):
    (tmp_path / ".git").mkdir()
    assert remote(str(tmp_path)) == f"file://{tmp_path}"
    assert remote("git@example.org:a/b.git") == "git@example.org:a/b.git"
    assert remote("https://example.org/a") == "https://example.org/a"
    for odd in ("per%cent", "per%20cent", "a b#c?d", "ü"):
        (tmp_path / odd / ".git").mkdir(parents=True)
        given = remote(str(tmp_path / odd))
        assert parse_git_url(given, RemotePolicy(allow_file=True)).path == str(tmp_path / odd)
    (tmp_path / os.fsdecode(b"caf\xe9") / ".git").mkdir(parents=True)
    with pytest.raises(CommandFailed, match="not UTF-8"):
        remote(os.fsdecode(bytes(tmp_path) + b"/caf\xe9"))
    with pytest.raises(CommandFailed, match="is in no git repository; --repo takes a path in one"):
        remote("/")
    for wrong in ("/no/such", "./no-such", "nothing"):
        with pytest.raises(CommandFailed, match="no directory"):
            remote(wrong)


def test_a_path_in_a_repository_stands_for_its_root(tmp_path, monkeypatch, capsys):
    root = make_repo(tmp_path / "app", {"src/a.py": "a", "b": "b"})
    assert remote(str(root / "src")) == f"file://{root}"
    monkeypatch.chdir(root / "src")
    assert remote(".") == f"file://{root}"
    assert capsys.readouterr().err == ""
    bare = tmp_path / "bare.git"
    git("clone", "-q", "--bare", str(root), str(bare), cwd=tmp_path)
    assert remote(str(bare)) == f"file://{bare}"


def test_uncommitted_work_is_named_and_nothing_is_touched(tmp_path, capsys):
    root = make_repo(tmp_path / "app", {"a": "a", "b": "b"})
    (root / "a").write_text("changed")
    for number in range(5):
        (root / f"new {number}").write_text("")
    before = (root / ".git" / "index").read_bytes()
    assert remote(str(root)) == f"file://{root}"
    assert capsys.readouterr().err == (
        f"relay: 6 files of {root} with work that is not committed, which the run does not see: "
        "a, new 0, new 1, new 2, new 3 and 1 more; --with-changes sends it along\n"
    )
    assert (root / ".git" / "index").read_bytes() == before
    assert uncommitted(tmp_path) == [], "where git cannot tell, there is no warning"


@pytest.mark.parametrize(
    ("text", "since"),
    [("30m", "2026-11-26T07:30:00+00:00"), ("1d", "2026-11-25T08:00:00+00:00"), ("2w", "2026-11-12T08:00:00+00:00")],
)
def test_since(text, since):
    now = datetime(2026, 11, 26, 8, tzinfo=UTC)
    assert since_time(text, now) == since
    assert since_time("2026-11-01T10:00:00+02:00", now).endswith(":00")
    with pytest.raises(CommandFailed, match="--since takes a time"):
        since_time("yesterday", now)


@pytest.mark.parametrize(
    ("text", "found"), [(" 3F2A ", "3f2a"), ("0b8f8f4e-5c1d-4c8e-9f0a-2b7d6e1f3a4c", None), ("3f2a91bc", "3f2a91bc")]
)
def test_ids_may_be_short(text, found):
    assert parse_id(text) == (found or text)
    for wrong in ("3f2", "app", "../../x", "3f2a/x", "", "-f2a91"):
        with pytest.raises(typer.BadParameter, match="is no id"):
            parse_id(wrong)


@pytest.mark.proves("T002-19")
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
    ("code", "said"), [("agent_not_confirmed", "relay retry --agent 0b8f8f4e"), ("workspace_failed", "run_agent_again")]
)
def test_a_retry_of_an_agent_that_is_refused_names_the_option_of_the_command(monkeypatch, code, said):
    monkeypatch.setattr(workspaces, "connect", lambda: Refusing(code))
    with pytest.raises(CommandFailed, match=said) as refused:
        workspaces.retry("0b8f8f4e")
    assert (refused.value.exit_code, refused.value.code) == (2, code)
