"""The commands that README and docs show in blocks of `sh`, and why some of them are not run by a test."""

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = (*sorted(ROOT.glob("*.md")), *sorted(ROOT.glob("docs/**/*.md")))
_BLOCK = re.compile(
    r"(?:^<!-- not run: ([^\n]*) -->\n+)?^```(?:sh|bash|shell|console)\n(.*?)^```", re.MULTILINE | re.DOTALL
)


@dataclass(frozen=True)
class Block:
    """Commands that stand together on a page."""

    commands: str
    not_run: str | None
    """Why no test runs them; None if one does."""


def blocks_of(page: Path) -> list[Block]:
    """Return the blocks of a page in order. A comment ``<!-- not run: REASON -->`` above a block keeps it from running."""
    return [Block(commands, reason or None) for reason, commands in _BLOCK.findall(page.read_text())]


def script_of(page: Path) -> str:
    """Return the commands of a page that can run, as one script of bash."""
    return "\n".join(block.commands for block in blocks_of(page) if block.not_run is None)
