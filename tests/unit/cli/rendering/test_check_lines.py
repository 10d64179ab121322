"""The report of `relay doctor` fits the terminal."""

import pytest

from relay_cli.rendering.check_lines import WIDTH, check_lines
from relay_cli.rendering.style import Style

CHECKS = [
    {"level": "ok", "check": "engine", "message": "the container engine answers, version 27", "what_to_do": None},
    {
        "level": "warning",
        "check": "open files",
        "message": "a worker may open 1024 files; it needs more where hundreds of runs write at the same time " * 2,
        "what_to_do": "raise the limit of open files of the service that starts the worker, then start it again",
    },
    {"level": "error", "check": "disk", "message": "/" + "long" * 20, "what_to_do": "free space\x1b[31m"},
]


@pytest.mark.parametrize("width", [None, 60, 80, 120])
def test_no_line_is_wider_than_the_terminal_but_for_a_long_path(width):
    lines = check_lines(CHECKS, Style(width=width))
    assert all(len(line) <= (width or WIDTH) for line in lines if "longlong" not in line)
    assert lines[0].startswith("ok       engine      the container engine answers")
    words = " ".join(" ".join(lines).split())
    for check in CHECKS[:2]:
        assert " ".join(check["message"].split()) in words
    assert "what to do: raise the limit of open files" in words
    assert "\x1b" not in words, "text of a check is no control sequence"
    assert lines[-1] == "3 checks: 1 error, 1 warning"


def test_levels_have_colours_and_keep_their_columns():
    plain, painted = (check_lines(CHECKS, Style(colour=colour, width=80)) for colour in (False, True))
    assert painted[0] == plain[0].replace("ok", "\x1b[32mok\x1b[0m", 1)
    assert painted[-3].startswith(" ")


def test_when_all_is_well_it_says_so():
    assert check_lines(CHECKS[:1], Style())[-1] == "1 check: all is well"
