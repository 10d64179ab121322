"""`relay` starts quickly: a command imports what it needs, and lists of commands import no command."""

import inspect
import subprocess
import sys

import pytest
import typer
from typer.testing import CliRunner

from relay_cli.main import app
from relay_cli.table import ENTRIES
from relay_core.quick_start import load

SLOW = {
    "sqlalchemy",
    "alembic",
    "celery",
    "kombu",
    "redis",
    "docker",
    "git",
    "pydantic_settings",
    "psycopg2",
    "rich.console",
}
CALL = """
import sys
sys.argv = ["relay", *sys.argv[1:]]
from relay_cli.main import main
try:
    main()
except SystemExit:
    pass
print("loaded:", *sys.modules)
"""


def loaded_by(tmp_path, *words):
    environment = {"RELAY_DATA_DIR": str(tmp_path), "PATH": "/usr/bin:/bin"}
    done = subprocess.run(
        [sys.executable, "-c", CALL, *words], env=environment, capture_output=True, text=True, check=True
    )
    return set(done.stdout.rpartition("loaded:")[2].split())


@pytest.mark.parametrize("words", [["--version"], ["ps"], ["show", "0b8f8f4e-5c1d-4c8e-9f0a-2b7d6e1f3a4c"], ["status"]])
def test_a_quick_command_imports_no_slow_package(tmp_path, words):
    assert SLOW & loaded_by(tmp_path, *words) == set()


def test_the_version_needs_no_client_of_the_api(tmp_path):
    assert not {"httpx", "relay_cli.client"} & loaded_by(tmp_path, "--version")


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry.name)
def test_a_list_of_commands_says_what_the_command_says(entry):
    found = load(entry.target)
    text = found.info.help if isinstance(found, typer.Typer) else inspect.getdoc(found)
    assert entry.summary == text.split("\n\n")[0].replace("\n", " ")


@pytest.mark.parametrize(
    ("words", "usage"),
    [
        (["image", "build"], "relay image build [OPTIONS] AGENT…"),
        (["db", "upgrade"], "relay db upgrade [OPTIONS]"),
        (["step", "add"], "relay step add [OPTIONS] ID"),
        (["drain"], "relay drain [OPTIONS] NODE"),
        (["run"], "relay run [OPTIONS] [PROMPT]"),
    ],
)
def test_a_group_of_one_command_is_a_group_and_arguments_are_in_capitals(words, usage):
    told = CliRunner().invoke(app, [*words, "--help"], prog_name="relay")
    assert (told.exit_code, next(line.strip() for line in told.stdout.splitlines() if "Usage:" in line)) == (
        0,
        f"Usage: {usage}",
    )
