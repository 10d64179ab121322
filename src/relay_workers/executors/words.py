"""An agent's last words as text that a database column, a commit message and a terminal can all take."""

import re

MAX_BYTES = 4096
"""Longest text (UTF-8): what fits a commit message, as vibe-kanban has it."""

_SEQUENCE = re.compile(
    r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]{0,4096}(?:\x07|\x1b\\)|[ -/]*[0-~])"  # CSI, OSC, the others
)
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")


def words(text: str) -> str | None:
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
