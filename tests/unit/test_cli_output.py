"""What reaches a terminal."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay_cli.output import Sanitizer, plain

NASTY = (
    b"\x1b[31mred\x1b[0m \x1b]0;title\x07\x1b[2J\x1b[Hhome \x1bPdcs\x1b\\ \x1b]52;c;aGk=\x1b\\copied "
    b"\x1bcreset bell\x07 back\x08 tab\t\r\n\xe2\x82\xac"
)
CLEAN = b"\x1b[31mred\x1b[0m home  copied reset bell back\x08 tab\t\r\n\xe2\x82\xac"


@given(st.lists(st.integers(0, len(NASTY)), max_size=12))
def test_only_colours_pass_however_the_bytes_are_cut(cuts):
    sanitizer = Sanitizer()
    edges = [0, *sorted(cuts), len(NASTY)]
    assert b"".join(sanitizer.feed(NASTY[a:b]) for a, b in itertools.pairwise(edges)) == CLEAN


def test_a_sequence_without_an_end_does_not_hold_the_log_for_ever():
    sanitizer = Sanitizer()
    shown = sanitizer.feed(b"\x1b]0;" + b"x" * 5000) + sanitizer.feed(b"after\n")
    assert shown.endswith(b"after\n")
    assert b"\x1b" not in shown


@pytest.mark.parametrize(("value", "cell"), [(None, "-"), (0, "0"), ("a\x1b[2Jb", "ab"), (["x"], "['x']")])
def test_cells(value, cell):
    assert plain(value) == cell
