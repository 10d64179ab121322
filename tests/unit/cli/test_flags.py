"""Errors of the command line name flags, where the API names fields."""

import inspect
import re
from pathlib import Path

import httpx
import pytest

from relay_api.schemas.runs import RunIn
from relay_cli.client import check
from relay_cli.commands import runs
from relay_cli.errors import CommandFailed
from relay_cli.flags import flag, in_flags

SOURCES = Path(__file__).parents[3] / "src"


@pytest.mark.parametrize(
    ("field", "expected"),
    [
        ("repos.0.target_branch", "--branch"),
        ("repos.12.setup_as_root", "--setup-as-root"),
        ("executor.reasoning_effort", "--reasoning-effort"),
        ("limits.memory_bytes", "--limit memory_bytes"),
        ("env.A_B", "--env A_B"),
        ("query.status", "--status"),
        ("scopes.1", "--scope"),
        ("somewhere.else", None),
    ],
)
def test_a_field_has_its_flag(field, expected):
    assert flag(field) == expected


def test_each_field_of_a_run_has_a_flag_that_relay_run_takes():
    options = set(
        re.findall(r"--[a-z-]+", inspect.getsource(__import__("relay_cli.commands.run_options", fromlist=["x"])))
    )
    options |= {f"--{name.replace('_', '-')}" for name in inspect.signature(runs.run).parameters}
    fields = [name for name in RunIn.model_fields if (flag(name) or "").startswith("--")]
    assert {"image", "env", "limits", "secrets", "executor", "repos", "project_id"} <= set(fields)
    assert {flag(name) for name in fields} <= options


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ("has no script for dev_server; give one in `script`", "has no script for dev_server; give one with --script"),
        ("give the run a valid KEY in `env` or `secrets`", "give the run a valid KEY with --env or --secret"),
        ("Raise `limits.memory_bytes`, or more.", "Raise --limit memory, or more."),
        ("raise `limits.pids`", "raise --limit pids"),
    ],
)
def test_words_for_clients_of_the_api_become_flags(said: str, shown: str):
    assert in_flags(said) == shown


def test_a_message_does_not_repeat_its_field_and_a_refused_token_says_where_it_is_set():
    errors = [{"field": "limits.pids", "message": "limits.pids must be less", "code": "less"}]
    assert refused(status=422, code="invalid_input", detail="x", errors=errors) == (
        "--limit pids: must be less [invalid_input]"
    )
    assert refused(status=401, code="token_invalid", detail="unknown").endswith("[token_invalid]; check RELAY_TOKEN")


def refused(**problem):
    with pytest.raises(CommandFailed) as failed:
        check(httpx.Response(problem["status"], json=problem))
    return str(failed.value)


def test_a_refused_field_is_named_by_its_flag():
    errors = [
        {"field": "executor.name", "message": "there is no executor 'codx'", "code": "executor_unknown"},
        {"field": "limits.cpus", "message": "Input should be greater than 0", "code": "greater_than"},
    ]
    told = refused(status=422, code="validation_failed", detail="executor.name: …", errors=errors)
    assert told == (
        "--executor: there is no executor 'codx'; --limit cpus: Input should be greater than 0 [validation_failed]"
    )


def test_words_for_clients_become_words_for_people():
    told = refused(status=409, code="agent_not_confirmed", detail="…; say `run_agent_again: true` to run it")
    assert told == "…; add --agent to run it [agent_not_confirmed]"
    assert in_flags("the remote names no default branch; give target_branch (it has main)") == (
        "the remote names no default branch; give --branch (it has main)"
    )
    assert in_flags("or give one that holds it as `image`") == "or name one that holds it with --image"
    assert (
        in_flags("build it and give `image` as relay-codex:latest")
        == "build it and run it with --image relay-codex:latest"
    )
    assert "relay step add ID" in in_flags("shell cannot go on; add a coding_agent step to the workspace instead")


@pytest.mark.parametrize(
    "words",
    [
        "say `run_agent_again: true`",
        "give target_branch",
        "holds it as `image`",
        "give `image` as",
        "add a coding_agent step",
    ],
)
def test_the_replaced_words_are_still_those_of_the_sources(words):
    """A phrase that changes in the API or a worker changes in the table too."""
    assert any(words in path.read_text() for path in SOURCES.rglob("*.py") if path.name != "flags.py")
