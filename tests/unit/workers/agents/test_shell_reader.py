from itertools import pairwise

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from relay_core.domain.vocabulary import Reason
from relay_workers.agents.shared.plain_text import MAX_BYTES, plain_text
from relay_workers.agents.shell.reader import ShellReader


def summary(*pieces):
    reader = ShellReader()
    for piece in pieces:
        reader.feed(piece)
    return reader.summary


@pytest.mark.parametrize(
    ("output", "expected"),
    [
        (b"", None),
        (b"\n \n\t\r\n", None),
        (b"one\ntwo\n\n  \n", "two"),
        (b"one\ntwo", "two"),
        (b"  done  \r\n", "done"),
        (b"10%\r50%\r100%\n", "100%"),
        (b"work\n\x1b[32mgreen\x1b[0m\n\x1b[0m\n", "green"),
        (b"work\n\x1b[?25h", "work"),
        (b"\x1b]0;title\x07said\x00\x08\n", "said"),
        (b"bad \xff\xfe byte\n", "bad \ufffd\ufffd byte"),
        ("grüße ✓\n".encode(), "grüße ✓"),
    ],
)
def test_the_summary_is_the_last_line_with_anything_on_it(output, expected):
    assert summary(output) == expected
    assert summary(*(output[i : i + 1] for i in range(len(output)))) == expected


LINES = st.lists(st.sampled_from([b"a", b" ", b"\n", b"\r", b"\xc3\xbc", b"\x1b[0m", b"\xff", b"xyz"]), max_size=40)


@given(LINES, st.lists(st.integers(0, 80), max_size=6))
@example([b"a", b"\n", b" "], [2])
def test_pieces_do_not_matter(parts, cuts):
    output = b"".join(parts)
    edges = [0, *sorted(min(cut, len(output)) for cut in cuts), len(output)]
    assert summary(*(output[a:b] for a, b in pairwise(edges))) == summary(output)


def test_a_line_is_cut_on_a_character():
    cut = summary("€".encode() * 5000)
    assert cut.endswith("€…")
    assert MAX_BYTES - 3 <= len(cut.encode()) <= MAX_BYTES


def test_a_hundred_megabytes_without_a_newline_take_little_memory():
    reader = ShellReader()
    piece = b" x" * (1 << 19)
    for _ in range(100):
        reader.feed(piece)
    assert len(reader._open) <= 4 * MAX_BYTES
    reader.feed(b"\nend\n")
    assert reader.summary == "end"


def test_the_exit_code_decides():
    reader = ShellReader()
    assert reader.verdict(0).success
    failed = reader.verdict(7)
    assert (failed.success, failed.reason, failed.message) == (
        False,
        Reason.EXIT_CODE,
        "the command ended with exit code 7",
    )
    assert "signal 9" in reader.verdict(137).message
    assert "could not be started" in reader.verdict(127).message
    assert "not known" in reader.verdict(None).message


@given(st.text(max_size=6000))
@example("\ud800")
@example("x" * MAX_BYTES)
def test_words_are_text_that_a_database_takes(text):
    said = plain_text(text)
    if said is not None:
        assert said.strip()
        assert len(said.encode()) <= MAX_BYTES
        assert "\0" not in said
        assert "\x1b" not in said
