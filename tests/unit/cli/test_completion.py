"""Completion of a word, as a shell asks for it."""

import os
import subprocess
import sys

import pytest

from relay_cli import completion


def offered(tmp_path, *words):
    """The values that bash is told for the last word."""
    environment = {
        "PATH": os.environ["PATH"],
        "RELAY_DATA_DIR": str(tmp_path),
        "_RELAY_COMPLETE": "complete_bash",
        "COMP_WORDS": " ".join(["relay", *words]),
        "COMP_CWORD": str(len(words)),
    }
    call = "import sys; sys.argv[0] = 'relay'; from relay_cli.main import main; main()"
    done = subprocess.run([sys.executable, "-c", call], env=environment, capture_output=True, text=True, check=False)
    assert done.stderr == ""
    return done.stdout.split()


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["work"], ["workspace"]),
        (["run", "--executor", "cla"], ["claude-code"]),
        (["ps", "--status", "ca"], ["cancelled"]),
        (["image", "build", "co"], ["codex"]),
        (["workspace", "list", "--state", "s"], ["starting", "stopped"]),
        (["logs", "3f"], []),
    ],
)
def test_commands_and_values_are_offered_and_without_an_api_no_ids(tmp_path, words, expected):
    assert offered(tmp_path, *words) == expected


def test_limits_are_offered_by_their_short_names():
    assert ("memory=", "") in completion.limits("me")
    assert ("timeout=", "") in completion.limits("")
