"""Find the cause of a failure in an agent's standard error: some agents report it nowhere else."""

import re

from relay_workers.agents.shared.plain_text import plain_text

TAIL_BYTES = 16 << 10
"""Bytes at the end of a standard error that are searched."""
MAX_LINES = 3
"""Lines that are taken as the cause, from its first line on."""
MAX_CHARACTERS = 600
"""Longest cause, in characters."""

_FAILURE_WORDS = re.compile(
    r"error\b|\b(?:fail\w*|fatal|refus\w+|denied|unauthori[sz]ed|forbidden|not found|unknown|invalid|unexpected|"
    r"unrecognized|cannot|can't|could not|unable|no such|missing|exceeded|overloaded|quota|rate limit|retrying|"
    r"required|[45]\d\d)\b",
    re.IGNORECASE,
)
# Lines that are no cause: those that agents print in every turn, and the inside of stack traces and boxes.
_NOISE = re.compile(
    r"\s+at .+[:)]|\[STARTUP\] |\[perf\] |\[session/|Warning: 256-color|WARNING: proceeding, even though|YOLO mode |"
    r"Ripgrep (?:is )?not available|(?:Terminated|Killed)$|Node\.js v\d|\s*File \".*\", line \d+|[\s{}()\[\],]*$"
)
_BOX = re.compile("[─-╿]+")
_OPTION = re.compile(r"\s+-{1,2}\w")
"""Beginning of a line of a help text."""


def failure_cause(stderr: bytes, *, certain: bool = False) -> str | None:
    """Return the last failure that a standard error reports, its lines joined into one; None if there is none.

    Args:
        stderr: the last bytes of the agent's standard error.
        certain: return only lines that contain a word of failure. Else, without such a line, the last lines are
            returned.
    """
    text = stderr[-TAIL_BYTES:].decode(errors="replace")
    lines = [plain for line in text.split("\n") if (plain := _plain(line))]
    failures = [index for index, line in enumerate(lines) if _FAILURE_WORDS.search(line) and not _OPTION.match(line)]
    # An indented line continues the line above it.
    starts = [index for index in failures if not lines[index][0].isspace()] or failures
    if starts:
        chosen = lines[starts[-1] : starts[-1] + MAX_LINES]
    elif certain:
        return None
    else:
        chosen = lines[-MAX_LINES:]
    cause = " ".join(line.strip() for line in chosen if line is chosen[0] or not _OPTION.match(line))
    return plain_text(cause[:MAX_CHARACTERS])


def _plain(line: str) -> str:
    line = plain_line(line)
    return "" if _NOISE.match(line) else line


def plain_line(line: str) -> str:
    """Remove terminal sequences and the characters of a box's frame from a line, but not its indentation."""
    indent = line[: len(line) - len(line.lstrip(" \t"))]
    plain = _BOX.sub("", plain_text(line) or "").rstrip()
    return indent + plain if plain.strip() else ""
