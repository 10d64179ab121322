"""An answer that aider prints, and its line of tokens."""

import re
from collections.abc import Sequence

from relay_workers.agents.shared.usage import CACHED, WRITTEN, disjoint

MAX_CHARACTERS = 64 << 10
"""Kept of an answer; its summary is shorter still."""

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
    """What ``Tokens: 4.2k sent, 112 received. Cost: $0.01 message, $0.02 session.`` says.

    Returns:
        Tokens of the answer by our names, and the cost of the turn so far; None for another line.
    """
    if not _TOKENS.match(line):
        return None
    counted = {_NAMES[what]: float(count) * _SCALE[unit] for count, unit, what in _COUNT.findall(line)}
    used = disjoint(counted, input_has=[CACHED, WRITTEN])
    cost = _COST.search(line)
    return {**used, "cost_usd": float(cost[1])} if cost else used


class AiderAnswer:
    """The lines of an answer, as many as a summary can need."""

    def __init__(self, lines: Sequence[str] = ()) -> None:
        self._lines: list[str] = []
        self._room = MAX_CHARACTERS
        self.in_block = False
        self.title: str | None = None
        """A line that is its first one if a block follows, and none of its own otherwise."""
        for line in lines:
            self.add(line)

    @property
    def begun(self) -> bool:
        """Whether it has said anything."""
        return bool(self._lines)

    def add(self, line: str) -> list[str]:
        """The next line; returns those that are now known to be of the answer."""
        fence = _FENCE.match(line)
        first, self.title = self.title, None
        before = self.add(first) if first is not None and fence else []
        self.in_block ^= bool(fence)
        if self._room > 0:
            self._lines.append(line[: self._room])
            self._room -= len(line) + 1
        return [*before, line]

    def only_title(self) -> list[str]:
        """At the end of the answer: the line that was held back, if it is all of it."""
        first, self.title = self.title, None
        return [] if first is None or self.begun else self.add(first)

    def text(self, *, without_edits: bool) -> str:
        """All of it, or what is left without blocks and the paths above them."""
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
