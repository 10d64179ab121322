"""What an agent's standard error says about the cause of a failure: some tell it nowhere else."""

import re

from relay_workers.agents.shared.plain_text import plain_text

TAIL_BYTES = 16 << 10
"""So much of the end of a standard error is looked at."""
MAX_LINES = 3
"""Lines that are taken from where the cause begins."""
MAX_CHARACTERS = 600

_TELLS = re.compile(
    r"error\b|\b(?:fail\w*|fatal|refus\w+|denied|unauthori[sz]ed|forbidden|not found|unknown|invalid|unexpected|"
    r"unrecognized|cannot|can't|could not|unable|no such|missing|exceeded|overloaded|quota|rate limit|retrying|"
    r"required|[45]\d\d)\b",
    re.IGNORECASE,
)
# What agents print in every run, and the inside of stack traces and of boxes.
_NOISE = re.compile(
    r"\s+at .+[:)]|\[STARTUP\] |\[perf\] |\[session/|Warning: 256-color|WARNING: proceeding, even though|YOLO mode |"
    r"Ripgrep (?:is )?not available|(?:Terminated|Killed)$|Node\.js v\d|\s*File \".*\", line \d+|[\s{}()\[\],]*$"
)
_BOX = re.compile("[─-╿]+")
_OPTION = re.compile(r"\s+-{1,2}\w")
"""A line of a help text."""


def failure_cause(stderr: bytes, *, certain: bool = False) -> str | None:
    """The words of the last failure that a standard error tells, in at most `MAX_LINES` lines made one.

    Args:
        stderr: its end.
        certain: only what reads like a failure; else, where nothing does, its last lines.
    """
    text = stderr[-TAIL_BYTES:].decode(errors="replace")
    lines = [plain for line in text.split("\n") if (plain := _plain(line))]
    telling = [index for index, line in enumerate(lines) if _TELLS.search(line) and not _OPTION.match(line)]
    # An indented line belongs to one above it.
    begins = [index for index in telling if not lines[index][0].isspace()] or telling
    if begins:
        chosen = lines[begins[-1] : begins[-1] + MAX_LINES]
    elif certain:
        return None
    else:
        chosen = lines[-MAX_LINES:]
    said = " ".join(line.strip() for line in chosen if line is chosen[0] or not _OPTION.match(line))
    return plain_text(said[:MAX_CHARACTERS])


def _plain(line: str) -> str:
    line = plain_line(line)
    return "" if _NOISE.match(line) else line


def plain_line(line: str) -> str:
    """A line without terminal sequences and without the frame of a box; its indentation stays."""
    indent = line[: len(line) - len(line.lstrip(" \t"))]
    plain = _BOX.sub("", plain_text(line) or "").rstrip()
    return indent + plain if plain.strip() else ""
