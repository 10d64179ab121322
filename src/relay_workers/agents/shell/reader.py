"""Reads the output of any command: the last line is the summary, and the exit code decides the verdict."""

from collections.abc import Mapping
from typing import Final

from relay_workers.agents.port import Verdict, exit_code_verdict
from relay_workers.agents.shared.plain_text import MAX_BYTES, plain_text

_LINE_BYTES: Final = 4 * MAX_BYTES
"""Number of bytes kept of a line: enough for `MAX_BYTES` of text between terminal sequences."""


class ShellReader:
    """Splits the output into lines; the last line with visible text is the summary of the turn."""

    agent_session_id: None = None
    agent_message_id: None = None
    usage: Mapping[str, float] = {}

    def __init__(self) -> None:
        self._open = b""
        """The bytes since the last line end, at most `_LINE_BYTES`."""
        self._last: str | None = None

    @property
    def summary(self) -> str | None:
        """The last line with visible text, or None. A carriage return also ends a line, for output of progress bars."""
        return _line(self._open) or self._last

    def feed(self, data: bytes) -> None:
        """Parse the next bytes of standard output."""
        head, newline, rest = data.replace(b"\r", b"\n").partition(b"\n")
        self._open = (self._open + head.lstrip() if not self._open else self._open + head[: self._room])[:_LINE_BYTES]
        if not newline:
            return
        whole, _, tail = rest.rpartition(b"\n")
        self._last = _last_line(whole) or _line(self._open) or self._last
        self._open = tail.lstrip()[:_LINE_BYTES]

    @property
    def _room(self) -> int:
        return _LINE_BYTES - len(self._open)

    def entries(self) -> tuple[()]:
        """Return no entries: the output of a command is not a conversation."""
        return ()

    def verdict(self, exit_code: int | None, stderr: bytes = b"", *, stopped: bool = False) -> Verdict:  # noqa: ARG002 - required by the interface
        """Return the verdict by the exit code of the command alone; the other arguments are ignored."""
        return exit_code_verdict("the command", exit_code)


def _last_line(block: bytes) -> str | None:
    """Return the last line with visible text; None if there is none. Visits each byte at most once, from the end."""
    end = len(block)
    while end > 0:
        start = block.rfind(b"\n", 0, end) + 1
        if line := _line(block[start:end].lstrip()[:_LINE_BYTES]):
            return line
        end = start - 1
    return None


def _line(line: bytes) -> str | None:
    return plain_text(line.decode(errors="replace"))
