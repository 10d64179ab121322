"""Ask the worker's code about this node. It runs in a separate process: `relay_cli` must not import `relay_workers`."""

import json
import subprocess
import sys
from typing import Any

import typer

from relay_cli.errors import CommandFailed


def ask_worker(*arguments: str) -> dict[str, Any]:
    """Run `python -m relay_workers.diagnostics ARGUMENTS…` with this process's environment and return its JSON output.

    Log lines and tracebacks of the process go to standard error.

    Raises:
        CommandFailed: the process reported an error; the exception has its message and exit code.
        typer.Exit: the process ended without JSON output; the exit code is that of the process.
    """
    command = (sys.executable, "-m", "relay_workers.diagnostics", *arguments)
    done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, check=False)
    try:
        answer: dict[str, Any] = json.loads(done.stdout)
    except ValueError:
        raise typer.Exit(done.returncode if done.returncode > 0 else 1) from None
    if "error" in answer:
        raise CommandFailed(answer["error"], done.returncode)
    return answer
