"""Text of others on a terminal: what it may do there is be read, and be coloured.

One state machine for everything that the command line prints. It passes text, tab, line feed, carriage return and
backspace, and complete SGR sequences (colours); it drops every other control sequence, every other control character,
C1 in both its encodings included, and shows the characters that reorder a line (bidi) by their numbers. Its output is
``(text | SGR)*`` whatever the input, and does not depend on how the input was cut into pieces.
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
"""Behind ESC: OSC, DCS, SOS, PM, APC, which go on to a terminator."""
_C1_STRINGS = "\x90\x98\x9d\x9e\x9f"
_C1_END = "\x9c"
_BIDI = {code: f"<U+{code:04X}>" for code in (*range(0x202A, 0x202F), *range(0x2066, 0x206A))}


class _State(Enum):
    TEXT = auto()
    ESCAPE = auto()
    """Behind ESC, perhaps with intermediate characters."""
    CSI = auto()
    STRING = auto()


class TerminalText:
    """Filters a stream of bytes; never reaches over a line end for the rest of a sequence."""

    def __init__(self, *, colours: bool = True) -> None:
        self._colours = colours
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._state = _State.TEXT
        self._sgr: str | None = None
        """Parameters of a CSI that may still become SGR."""

    def feed(self, data: bytes) -> bytes:
        """What may be shown of ``data``; a character or sequence that is not complete waits for its rest."""
        return self._filter(self._decoder.decode(data))

    def end(self) -> bytes:
        """What is left of a character that did not become complete."""
        return self._filter(self._decoder.decode(b"", final=True))

    def _filter(self, text: str) -> bytes:
        return "".join(self._pieces(text)).translate(_BIDI).encode("utf-8", "replace")

    def _pieces(self, text: str) -> Iterator[str]:
        at = 0
        while at < len(text):
            run = _PLAIN.match(text, at) if self._state is _State.TEXT else None
            if run is not None:  # nearly everything, a character at a time would be slow
                at = run.end()
                yield run[0]
            else:
                at += 1
                yield self._take(text[at - 1])

    def _take(self, one: str) -> str:
        if one == ESC:
            return self._go(_State.ESCAPE)
        if "\x80" <= one <= "\x9f":
            return self._take_c1(one)
        if one < " " or one == "\x7f":
            return self._take_control(one)
        if self._state is _State.ESCAPE:
            return self._take_escape(one)
        if self._state is _State.CSI:
            return self._take_csi(one)
        return one if self._state is _State.TEXT else ""

    def _take_c1(self, one: str) -> str:
        if one == _C1_CSI:
            return self._go(_State.CSI)
        return self._go(_State.STRING if one in _C1_STRINGS else _State.TEXT)

    def _take_control(self, one: str) -> str:
        if one == "\n" or (self._state is _State.STRING and one == "\a"):
            self._go(_State.TEXT)
            return one if one == "\n" else ""
        if self._state is not _State.TEXT:
            return ""
        return one if one in _KEPT else ""

    def _take_escape(self, one: str) -> str:
        if " " <= one <= "/":
            return ""
        if one == "[":
            self._go(_State.CSI)
            self._sgr = "" if self._colours else None
            return ""
        if one in _STRINGS:
            return self._go(_State.STRING)
        self._go(_State.TEXT)
        return "" if "0" <= one <= "~" else one

    def _take_csi(self, one: str) -> str:
        if "@" <= one <= "~":
            sgr, _ = self._sgr, self._go(_State.TEXT)
            return f"{ESC}[{sgr}m" if one == "m" and sgr is not None else ""
        if not " " <= one <= "?":
            self._go(_State.TEXT)
            return one
        allowed = self._sgr is not None and one in "0123456789;:" and len(self._sgr) < _LONGEST_SGR
        self._sgr = f"{self._sgr}{one}" if allowed else None
        return ""

    def _go(self, state: _State) -> str:
        self._state, self._sgr = state, None
        return ""


def safe(text: str) -> str:
    """A name or message without any control character but line feeds, and without colours."""
    shown = TerminalText(colours=False).feed(text.encode("utf-8", "replace")).decode()
    return shown.replace("\r", "").replace("\b", "").replace("\t", " ")


def safe_line(text: str) -> str:
    """The same on one line."""
    return " ".join(safe(text).splitlines())


def indented(text: str) -> str:
    """A message whose further lines cannot pass for messages of their own."""
    return "\n  ".join(safe(text).splitlines())
