"""An agent's last words as text that a database column, a commit message and a terminal can all take."""

import re

MAX_BYTES = 4096
"""Longest text (UTF-8): what fits a commit message, as vibe-kanban has it."""

_ROOM = 4 * MAX_BYTES
"""Characters kept of a message that streams in: enough for `MAX_BYTES` of words among terminal sequences."""
_SEQUENCE = re.compile(
    r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]{0,4096}(?:\x07|\x1b\\)|[ -/]*[0-~])"  # CSI, OSC, the others
)
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")


def plain_text(text: str) -> str | None:
    """The text without terminal sequences, control characters and halves of surrogate pairs, cut to `MAX_BYTES`.

    Returns:
        None where nothing is left. A cut text ends with an ellipsis, which counts.
    """
    plain = _CONTROL.sub("", _SEQUENCE.sub("", text.replace("\r\n", "\n"))).strip()
    if not plain:
        return None
    encoded = plain.encode()
    if len(encoded) <= MAX_BYTES:
        return plain
    return encoded[: MAX_BYTES - 3].decode(errors="ignore").rstrip() + "…"


class LastMessage:
    """A message that arrives in pieces: its beginning, as much as `plain_text` keeps; the next one replaces it."""

    def __init__(self) -> None:
        self._pieces: list[str] = []
        self._room = _ROOM
        self._ended = False

    def add(self, piece: str) -> None:
        """The next piece; after `end`, the first of another message."""
        if self._ended:
            self._pieces, self._room, self._ended = [], _ROOM, False
        if self._room > 0:
            self._pieces.append(piece[: self._room])
            self._room -= len(piece)

    def end(self) -> None:
        """The message is complete."""
        self._ended = True

    @property
    def text(self) -> str | None:
        """What was said; None where that is nothing."""
        self._pieces = ["".join(self._pieces)]
        return plain_text(self._pieces[0])
