"""Make text of unknown origin safe for a terminal: a reader sees words and colours, and nothing else happens.

One state machine filters everything that the command-line programs print. It passes text, tab, line feed, carriage
return, backspace and complete SGR sequences (colours). It drops all other control sequences and control characters,
C1 in both its encodings included, and shows characters that reorder a line (bidi) as `<U+202E>`. The output matches
``(text | SGR)*`` for every input, and does not depend on how the input was cut into pieces.
"""

import codecs
import re
from collections.abc import Iterator
from enum import Enum, auto

ESC = "\x1b"
RESET = f"{ESC}[0m"
_KEPT = "\t\n\r\b"
_PLAIN = re.compile(r"[^\x00-\x1f\x7f-\x9f]+")
_LONGEST_SGR = 64
_C1_CSI = "\x9b"
_STRINGS = "]PX^_"
"""Characters that, after ESC, begin a control string (OSC, DCS, SOS, PM, APC), which a terminator ends."""
_C1_STRINGS = "\x90\x98\x9d\x9e\x9f"
_C1_END = "\x9c"
_BIDI = {code: f"<U+{code:04X}>" for code in (*range(0x202A, 0x202F), *range(0x2066, 0x206A))}


class _State(Enum):
    TEXT = auto()
    ESCAPE = auto()
    """ESC has been read, and perhaps intermediate characters after it."""
    CSI = auto()
    STRING = auto()


class TerminalText:
    """A filter of one stream of bytes. It drops a control sequence that is incomplete at the end of its line.

    Args:
        colours: True passes SGR sequences (colours), False drops them.
    """

    def __init__(self, *, colours: bool = True) -> None:
        self._colours = colours
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._state = _State.TEXT
        self._sgr: str | None = None
        """Parameters so far of the CSI sequence that is being read. None if the sequence will be dropped, because
        colours are off, it cannot be SGR, or it is too long."""

    def feed(self, data: bytes) -> bytes:
        """Return the next piece of the stream, filtered; keep an incomplete character or sequence for the next call."""
        return self._filter(self._decoder.decode(data))

    def end(self) -> bytes:
        """Return the output for an incomplete last character (U+FFFD); call this at the end of the stream."""
        return self._filter(self._decoder.decode(b"", final=True))

    def _filter(self, text: str) -> bytes:
        return "".join(self._pieces(text)).translate(_BIDI).encode("utf-8", "replace")

    def _pieces(self, text: str) -> Iterator[str]:
        at = 0
        while at < len(text):
            run = _PLAIN.match(text, at) if self._state is _State.TEXT else None
            if run is not None:  # plain text, which is most of it: one character at a time would be slow
                at = run.end()
                yield run[0]
            else:
                at += 1
                yield self._take(text[at - 1])

    def _take(self, char: str) -> str:
        if char == ESC:
            return self._go(_State.ESCAPE)
        if "\x80" <= char <= "\x9f":
            return self._take_c1(char)
        if char < " " or char == "\x7f":
            return self._take_control(char)
        if self._state is _State.ESCAPE:
            return self._take_escape(char)
        if self._state is _State.CSI:
            return self._take_csi(char)
        return char if self._state is _State.TEXT else ""

    def _take_c1(self, char: str) -> str:
        if char == _C1_CSI:
            return self._go(_State.CSI)
        return self._go(_State.STRING if char in _C1_STRINGS else _State.TEXT)

    def _take_control(self, char: str) -> str:
        if char == "\n" or (self._state is _State.STRING and char == "\a"):
            self._go(_State.TEXT)
            return char if char == "\n" else ""
        if self._state is not _State.TEXT:
            return ""
        return char if char in _KEPT else ""

    def _take_escape(self, char: str) -> str:
        if " " <= char <= "/":
            return ""
        if char == "[":
            self._go(_State.CSI)
            self._sgr = "" if self._colours else None
            return ""
        if char in _STRINGS:
            return self._go(_State.STRING)
        self._go(_State.TEXT)
        return "" if "0" <= char <= "~" else char

    def _take_csi(self, char: str) -> str:
        if "@" <= char <= "~":
            sgr, _ = self._sgr, self._go(_State.TEXT)
            return f"{ESC}[{sgr}m" if char == "m" and sgr is not None else ""
        if not " " <= char <= "?":
            self._go(_State.TEXT)
            return char
        allowed = self._sgr is not None and char in "0123456789;:" and len(self._sgr) < _LONGEST_SGR
        self._sgr = f"{self._sgr}{char}" if allowed else None
        return ""

    def _go(self, state: _State) -> str:
        self._state, self._sgr = state, None
        return ""


def safe(text: str) -> str:
    """Return a name or message with line feeds as its only control characters, and without colours."""
    shown = TerminalText(colours=False).feed(text.encode("utf-8", "replace")).decode()
    return shown.replace("\r", "").replace("\b", "").replace("\t", " ")


def safe_line(text: str) -> str:
    """Return a name or message on one line, without control characters and colours."""
    return " ".join(safe(text).splitlines())


def indented(text: str) -> str:
    """Return a message with all lines but the first indented, so that they do not look like separate messages."""
    return "\n  ".join(safe(text).splitlines())
