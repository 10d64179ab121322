"""Find the cause of a failure in an agent's standard error: some agents report it nowhere else."""

import re

from relay_workers.agents.shared.plain_text import plain_text

TAIL_BYTES = 16 << 10
"""Only this many bytes at the end of the standard error are searched."""
MAX_LINES = 3
"""Maximum number of lines that are joined into one cause."""
MAX_CHARACTERS = 600
"""Maximum length of a cause, in characters."""

_FAILURE_WORDS = re.compile(
    r"error\b|\b(?:fail\w*|fatal|refus\w+|denied|unauthori[sz]ed|forbidden|not found|unknown|invalid|unexpected|"
    r"unrecognized|cannot|can't|could not|unable|no such|missing|exceeded|overloaded|quota|rate limit|retrying|"
    r"required|[45]\d\d)\b",
    re.IGNORECASE,
)
# Lines that are never a cause: lines that agents print in every turn, and lines inside of stack traces and boxes.
_NOISE = re.compile(
    r"\s+at .+[:)]|\[STARTUP\] |\[perf\] |\[session/|Warning: 256-color|WARNING: proceeding, even though|YOLO mode |"
    r"Ripgrep (?:is )?not available|(?:Terminated|Killed)$|Node\.js v\d|\s*File \".*\", line \d+|[\s{}()\[\],]*$"
)
_BOX = re.compile("[─-╿]+")
_OPTION = re.compile(r"\s+-{1,2}\w")
"""Matches a line of a help text, which begins with an indented option."""


def failure_cause(stderr: bytes, *, certain: bool = False) -> str | None:
    """Return the last failure that the standard error reports, as one line; None if it reports none.

    Args:
        stderr: the last bytes of the agent's standard error.
        certain: accept only a line with a word such as "error" or "denied". If False and there is no such line, the
            last lines are returned.
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
    """Return a line without terminal sequences and without characters that draw a box; the indentation is kept."""
    indent = line[: len(line) - len(line.lstrip(" \t"))]
    plain = _BOX.sub("", plain_text(line) or "").rstrip()
    return indent + plain if plain.strip() else ""
