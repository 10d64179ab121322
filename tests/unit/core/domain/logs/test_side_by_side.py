"""Logs side by side: names of one length, and whole lines."""

from relay_core.domain.logs.side_by_side import LONGEST_LINE, PrefixedLines, names_of


def test_names_are_those_of_the_repositories_where_they_differ():
    assert names_of([("setup_script", "app"), ("setup_script", "library")]) == ["app    ", "library"]
    assert names_of([("setup_script", "app"), ("cleanup_script", "app")]) == [
        "setup_script app  ",
        "cleanup_script app",
    ]
    assert names_of([("setup_script", None), ("clone", None)]) == ["setup_script", "clone       "]


def test_lines_are_whole_and_no_byte_is_lost():
    lines = PrefixedLines(b"app | ")
    assert lines.feed(b"one\ntw") == b"app | one\n"
    assert lines.feed(b"o\n\n\xff\r") == b"app | two\napp | \n"
    assert (lines.end(), lines.end()) == (b"app | \xff\r\n", b"")


def test_a_line_without_an_end_is_broken():
    lines = PrefixedLines(b"> ")
    assert lines.feed(b"x" * (LONGEST_LINE + 1)) == b"> " + b"x" * LONGEST_LINE + b"\n"
    assert lines.end() == b"> x\n"
