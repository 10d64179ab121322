"""The `relay` command as a process on a terminal of its own."""

import os
import pty
import select
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from tests.support.api_fixtures import Api

SECONDS = 60
"""Longest silence of a command from which a test still expects words."""


@contextmanager
def on_a_terminal(
    api: Api, *words: str, who: str = "ann", **more: str
) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """The command on a terminal of 80 columns, and the terminal's other end.

    Args:
        api: the API that the command calls.
        words: its arguments.
        who: whose token it has.
        more: further environment variables.
    """
    ours, theirs = pty.openpty()
    environment = {**os.environ, "RELAY_API_URL": str(api.client.base_url), "RELAY_TOKEN": api.tokens[who], **more}
    environment |= {"COLUMNS": "80", "TERM": "xterm"}
    command = [sys.executable, "-m", "relay_cli.main", *words]
    with subprocess.Popen(command, env=environment, stdin=theirs, stdout=theirs, stderr=theirs) as process:
        os.close(theirs)
        try:
            yield process, ours
        finally:
            process.kill()
            os.close(ours)


def shown_until(terminal: int, words: str) -> str:
    """Read from a terminal until it shows the words, or its last process has ended."""
    shown = b""
    with suppress(OSError):  # EIO: the last process of the terminal has ended
        while words.encode() not in shown and select.select([terminal], [], [], SECONDS)[0]:
            shown += os.read(terminal, 4096)
    assert words in shown.decode(errors="replace"), shown
    return shown.decode(errors="replace")
