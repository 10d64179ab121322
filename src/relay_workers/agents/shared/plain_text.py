"""Clean an agent's messages, so that a database column, a commit message and a terminal can contain them."""

import re

MAX_BYTES = 4096
"""Longest cleaned text in bytes of UTF-8; vibe-kanban uses the same limit for its commit messages."""

_ROOM = 4 * MAX_BYTES
"""Characters kept of a message that arrives in pieces: enough for `MAX_BYTES` of text between terminal sequences."""
_SEQUENCE = re.compile(
    r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]{0,4096}(?:\x07|\x1b\\)|[ -/]*[0-~])"  # CSI, OSC, the others
)
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")


def plain_text(text: str) -> str | None:
    """Return the text without terminal sequences, control characters and halves of surrogate pairs, cut to `MAX_BYTES`.

    Returns:
        The cleaned text, with an ellipsis at the end if it was cut; None if nothing but whitespace is left.
    """
    plain = _CONTROL.sub("", _SEQUENCE.sub("", text.replace("\r\n", "\n"))).strip()
    if not plain:
        return None
    encoded = plain.encode()
    if len(encoded) <= MAX_BYTES:
        return plain
    return encoded[: MAX_BYTES - 3].decode(errors="ignore").rstrip() + "…"


class LastMessage:
    """The newest message of an agent that sends its messages in pieces; only the beginning of the message is kept."""

    def __init__(self) -> None:
        self._pieces: list[str] = []
        self._room = _ROOM
        self._ended = False

    def add(self, piece: str) -> None:
        """Append a piece to the message; the first piece after `end` starts a new message."""
        if self._ended:
            self._pieces, self._room, self._ended = [], _ROOM, False
        if self._room > 0:
            self._pieces.append(piece[: self._room])
            self._room -= len(piece)

    def end(self) -> None:
        """Mark the message as complete; the next piece starts a new message."""
        self._ended = True

    @property
    def text(self) -> str | None:
        """The message, cleaned by `plain_text`; None if it is empty."""
        self._pieces = ["".join(self._pieces)]
        return plain_text(self._pieces[0])
