"""Call the `relay` command inside of the test's process, which saves the start of a process for each call."""

import contextlib
import io
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from unittest.mock import patch

from relay_cli.main import main


@dataclass(frozen=True)
class Called:
    """The end of a command, with the names of `subprocess.CompletedProcess`."""

    returncode: int
    stdout: str
    stderr: str


def call_relay(*words: str, cwd: Path, env: Mapping[str, str]) -> Called:
    """Run `relay` with these words in a directory, and return its end. Only for commands that print text.

    Args:
        words: command and arguments.
        cwd: directory in which the command is called.
        env: variables that are added to the environment.
    """
    out, err, code = io.StringIO(), io.StringIO(), 0
    with (
        contextlib.chdir(cwd),
        patch.dict(os.environ, env),
        patch("sys.argv", ["relay", *words]),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        try:
            main()
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else int(end.code is not None)
    return Called(code, out.getvalue(), err.getvalue())
