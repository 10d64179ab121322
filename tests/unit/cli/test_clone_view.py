"""The log of a clone: bars on a terminal, lines elsewhere, and no error message twice."""

import io
import re

import pytest
from rich.console import Console

from relay_cli.clone_bars import BarLines
from relay_cli.clone_view import CloneView, PlainLines
from relay_cli.rendering.progress import Progress, read_progress

ERROR = "the remote https://example.org/a.git has no branch 'x'; it has main"
LOG = (
    b"relay: image relay-base:latest (sha256:1)\nrelay: cloning https://example.org/a.git\n"
    b"remote: Enumerating objects: 8, done.\n"
    b"Receiving objects:  37% (3/8)\rReceiving objects:  75% (6/8), 1.20 MiB | 3.00 MiB/s\r"
    b"Receiving objects: 100% (8/8), 1.80 MiB | 3.00 MiB/s, done.\n"
    b"relay: workspace is ready on branch vk-1\n"
)


def lines_of(log: bytes, error: str | None = None, size: int | None = None) -> list[str]:
    out = io.BytesIO()
    view = CloneView(PlainLines(out))
    for at in range(0, len(log), size or len(log)):
        view.write(log[at : at + (size or len(log))])
    view.end(error)
    return out.getvalue().decode().splitlines()


@pytest.mark.parametrize(
    ("line", "progress"),
    [
        ("Receiving objects:  37% (3/8)", Progress("Receiving objects", 3, 8)),
        ("remote: Counting objects: 100% (8/8), done.", Progress("Counting objects", 8, 8)),
        ("Receiving objects: 50% (4/8), 1 MiB | 2 MiB/s", Progress("Receiving objects", 4, 8, "1 MiB | 2 MiB/s")),
        ("Pulling image: 12% (12/96)", Progress("Pulling image", 12, 96)),
        ("relay: cloning https://example.org/a.git", None),
        ("remote: Enumerating objects: 8, done.", None),
        ("x: 1% (1/2)", None),
    ],
)
def test_progress_is_read_from_lines(line, progress):
    assert read_progress(line) == progress


@pytest.mark.parametrize("size", [None, 1, 7])
def test_elsewhere_every_state_is_a_line(size):
    assert lines_of(LOG, size=size) == re.split(r"[\r\n]+", LOG.decode().strip())


@pytest.mark.parametrize("error", [ERROR, f"{ERROR}\nand more", "image 'no/such:1' cannot be used: no registry"])
def test_the_error_that_the_command_repeats_is_not_shown_twice(error):
    log = b"relay: cloning a\nfatal: no\nrelay: " + error.encode() + b"\n"
    assert lines_of(log, error) == ["relay: cloning a", "fatal: no"]
    assert lines_of(log, None) == ["relay: cloning a", "fatal: no", *f"relay: {error}".splitlines()]
    assert lines_of(log[:-1], "another error")[2:] == f"relay: {error}".splitlines()


def test_an_interrupted_line_is_not_lost():
    assert lines_of(b"one\ntwo") == ["one", "two"]
    assert lines_of(b"x" * 100_000, size=9000)[0].startswith("xxx")


def on_a_terminal(log: bytes) -> str:
    out = io.StringIO()
    console = Console(file=out, force_terminal=True, width=80, legacy_windows=False)
    view = CloneView(BarLines(console))
    view.write(log)
    view.end(None)
    return out.getvalue()


def test_a_terminal_shows_bars_that_vanish():
    shown = on_a_terminal(LOG)
    assert "100%" in shown
    assert "Receiving objects" in shown
    assert "relay: workspace is ready on branch vk-1" in shown
    assert "(3/8)" not in shown
    assert shown.rstrip().endswith("\x1b[2K") or "\x1b[2K" in shown, "the bars are removed"


def test_hostile_lines_stay_text():
    evil = b"remote: a\x1b]0;t\x07\x1b[2Jb \xe2\x80\xae[bold]c[/bold]\nReceiving objects: 1% (1/9), \x1b[2J[red]x\r"
    shown = on_a_terminal(evil)
    assert "remote: ab <U+202E>[bold]c[/bold]" in shown
    assert "[red]x" in shown
    assert "\x1b]" not in shown
    assert "\x1b[2J" not in shown
