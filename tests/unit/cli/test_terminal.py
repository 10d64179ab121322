"""What reaches a terminal: text and colours, whatever an agent, a remote or a registry wrote."""

import contextlib
import io
import itertools
import json
import re
from collections.abc import Callable

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from relay_cli import output
from relay_core.console import output as console
from relay_core.console.terminal_text import TerminalText, indented, safe, safe_line

SHOWN = re.compile(r"(?:[^\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]|\x08|\x1b\[[0-9;:]*m)*")
PIECES = st.lists(
    st.sampled_from(
        [
            *(
                b"\x1b",
                b"[",
                b"]",
                b"P",
                b"m",
                b"2J",
                b"31",
                b";",
                b"52;c;aGk=",
                b"\x07",
                b"\x1b\\",
                b"\\",
                b"c",
                b"(B",
            ),
            *(b"\n", b"\r", b"\x08", b"\x00", b"\x18", b"\x1a", b"\x7f", b"\x9b", b"\x9d", b"\xc2", b"\xc2\x9b"),
            *(
                b"\xc2\x9d",
                b"\xc2\x85",
                b"\xe2\x80\xae",
                b"\xe2\x81\xa6",
                b"\xe2",
                b"\x80",
                b"text",
                b"\xf0\x9f\x98\x80",
            ),
        ]
    ),
    max_size=30,
).map(b"".join)


def filtered(*pieces: bytes) -> bytes:
    terminal = TerminalText()
    return b"".join(terminal.feed(piece) for piece in pieces) + terminal.end()


@given(PIECES | st.binary(max_size=60))
@example(b"\x1b\x1b[2J[2J")
@example(b"\x1b\n[2J")
@example(b"\x1b[2\x07J")
@example(b"\x1b[3\x1b[2Jm")
@example(b"\xc2\x9b2J")
@example(b"\x1b]0;title\x1b[2J\x07")
def test_the_output_is_text_and_colours(data):
    assert SHOWN.fullmatch(filtered(data).decode())


@given(PIECES, st.lists(st.integers(0, 200), max_size=12))
def test_it_does_not_depend_on_how_the_bytes_are_cut(data, cuts):
    edges = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    assert filtered(*(data[a:b] for a, b in itertools.pairwise(edges))) == filtered(data)


@pytest.mark.parametrize(
    ("data", "shown"),
    [
        (b"\x1b[31mred\x1b[0m \x1b[1;38:5:7mx\x1b[m", "\x1b[31mred\x1b[0m \x1b[1;38:5:7mx\x1b[m"),
        (b"\x1b]0;title\x07\x1b[2J\x1b[Hhome \x1bPdcs\x1b\\ \x1bcreset", "home  reset"),
        (b"\x1b]52;c;aGk=\x1b\\copied bell\x07 back\x08 tab\t\r\n\xe2\x82\xac", "copied bell back\x08 tab\t\r\n€"),
        (b"\x1b\x1b[2J[2J", "[2J"),
        (b"a\xc2\x9b2Jb\xc2\x9d0;x\xc2\x9cc\xc2\x85d", "abcd"),
        (b"a\x9b2Jb", "a\N{REPLACEMENT CHARACTER}2Jb"),
        (b"\x1b]0;never ended\nnext line", "\nnext line"),
        (b"\x1b[>4;1m\x1b[?25l\x1b[1 mx", "x"),
        ("user\u202enimda\u2066!".encode(), "user<U+202E>nimda<U+2066>!"),
        (b"caf\xe9 \xe2\x82", "caf\N{REPLACEMENT CHARACTER} \N{REPLACEMENT CHARACTER}"),
        (b"\x1b[" + b"1" * 100 + b"mx", "x"),
    ],
)
def test_what_is_shown(data, shown):
    assert filtered(data).decode() == shown


def test_names_and_messages_have_no_colours_and_stay_on_their_lines():
    assert safe("a\x1b[31mb\x1b[2J\rc\bd\n\u202ee") == "abcd\n<U+202E>e"
    assert safe_line("one\ntwo\rthree") == "one twothree"
    assert indented("failed\nrelay: all is well") == "failed\n  relay: all is well"


EVIL = "x\x1b]0;t\x07\x1b[2J\x9b2J\u202ey\rrelay: fine"


class Terminal(io.TextIOWrapper):
    def isatty(self):
        return True


def on_a_terminal(act: Callable[[], None]) -> str:
    """What arrives at a terminal that is standard output and standard error."""
    raw = io.BytesIO()
    stream = Terminal(raw, encoding="utf-8", write_through=True)
    with contextlib.redirect_stdout(stream), contextlib.redirect_stderr(stream):
        act()
    return raw.getvalue().decode()


def print_all() -> None:
    console.note(EVIL)
    output.show({"title": EVIL, "labels": [EVIL], EVIL: 1}, as_json=False)
    output.show_list([{"name": EVIL, "n": 1}], ("name", "n"), as_json=False)
    for writer in console.log_writers().values():
        writer.write(EVIL.encode())


def test_everything_printed_goes_through_it():
    shown = on_a_terminal(print_all)

    assert SHOWN.fullmatch(shown)
    assert shown.count("<U+202E>") == 7
    assert "\x1b]" not in shown


def test_json_escapes_it():
    shown = on_a_terminal(lambda: output.show({"title": EVIL}, as_json=True))

    assert json.loads(shown)["title"] == EVIL
    assert SHOWN.fullmatch(shown)


def test_a_file_gets_the_exact_bytes():
    raw = io.BytesIO()
    with contextlib.redirect_stdout(io.TextIOWrapper(raw)) as kept:
        console.log_writers()["stdout"].write(EVIL.encode() + b"\xff")
    assert not kept.closed
    assert raw.getvalue() == EVIL.encode() + b"\xff"
