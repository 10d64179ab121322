"""Parse two parts of aider's output: an answer of the model, and the line with the token counts of an answer."""

import re
from collections.abc import Sequence

from relay_workers.agents.shared.usage import CACHED, WRITTEN, disjoint

MAX_CHARACTERS = 64 << 10
"""Number of characters kept of an answer; the summary of the turn is shorter."""

_FENCE = re.compile(r"`{3,}|<source>$|</source>$")
_TOKENS = re.compile(r"Tokens: .*\breceived\.")
_COUNT = re.compile(r"(\d+(?:\.\d+)?)([kM]?) (sent|received|cache write|cache hit)")
_COST = re.compile(r"\$(\d+(?:\.\d+)?) session")
_SCALE = {"": 1.0, "k": 1e3, "M": 1e6}
_NAMES = {
    "sent": "input_tokens",
    "received": "output_tokens",
    "cache write": "cache_creation_input_tokens",
    "cache hit": "cache_read_input_tokens",
}


def tokens(line: str) -> dict[str, float] | None:
    """Parse a line such as ``Tokens: 4.2k sent, 112 received. Cost: $0.01 message, $0.02 session.``.

    Returns:
        Token counts of the answer by Relay's names, and the cost of the turn so far as ``cost_usd``; None if the line
        is not such a line.
    """
    if not _TOKENS.match(line):
        return None
    counted = {_NAMES[name]: float(count) * _SCALE[unit] for count, unit, name in _COUNT.findall(line)}
    used = disjoint(counted, input_has=[CACHED, WRITTEN])
    cost = _COST.search(line)
    return {**used, "cost_usd": float(cost[1])} if cost else used


class AiderAnswer:
    """One answer of the model, added line by line; at most `MAX_CHARACTERS` of the answer are kept.

    Args:
        lines: the first lines of the answer.
    """

    def __init__(self, lines: Sequence[str] = ()) -> None:
        self._lines: list[str] = []
        self._room = MAX_CHARACTERS
        self.in_block = False
        """Whether the next line is inside of a fenced block."""
        self.title: str | None = None
        """A line before the answer that contains only a path; None if there is none.

        If the next line begins a fenced block, the path is the first line of the answer. Otherwise it does not belong
        to the answer.
        """
        for line in lines:
            self.add(line)

    @property
    def begun(self) -> bool:
        """Whether the answer has at least one line."""
        return bool(self._lines)

    def add(self, line: str) -> list[str]:
        """Add a line. Return the lines added to the answer: the title, if it belongs to the answer, and `line`."""
        fence = _FENCE.match(line)
        first, self.title = self.title, None
        before = self.add(first) if first is not None and fence else []
        self.in_block ^= bool(fence)
        if self._room > 0:
            self._lines.append(line[: self._room])
            self._room -= len(line) + 1
        return [*before, line]

    def only_title(self) -> list[str]:
        """End the answer. If it has no line but the title, add the title and return it; otherwise return nothing."""
        first, self.title = self.title, None
        return [] if first is None or self.begun else self.add(first)

    def text(self, *, without_edits: bool) -> str:
        """Return the answer.

        Args:
            without_edits: leave out fenced blocks and the paths above them.
        """
        return "\n".join(_without_blocks(self._lines) if without_edits else self._lines)


def _without_blocks(lines: Sequence[str]) -> list[str]:
    kept: list[str] = []
    inside = False
    for line in lines:
        if _FENCE.match(line):
            if not inside and kept and kept[-1].strip() and " " not in kept[-1].strip():
                kept.pop()
            inside = not inside
        elif not inside and (line.strip() or (kept and kept[-1].strip())):
            kept.append(line)
    return kept
