"""Torn last lines of files in a directory to which a container can write."""

import os
import tracemalloc
from pathlib import Path

import pytest

from relay_workers.host_files import torn_line
from relay_workers.host_files.torn_line import TornLine
from tests.support.torn import cut_torn_lines

WHOLE = b'{"a": 1}\n{"b": "\\u00e4"}\n'
PATTERN = ("projects", "*", "one.jsonl")


def file_in(root: Path, content: bytes, name: str = "one.jsonl") -> Path:
    path = root / "home/projects/x" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def cut(root: Path) -> list[TornLine]:
    return cut_torn_lines(root, ["home"], PATTERN, None)


@pytest.mark.parametrize("tail", [b'{"c": [1, 2', b"{", b"\0" * 5000, b'{"c": 3', b"[1, 2]\n"])
def test_what_is_before_the_torn_line_stays_and_the_line_is_kept_beside(tmp_path: Path, tail: bytes) -> None:
    path = file_in(tmp_path, WHOLE + tail)
    path.chmod(0o600)
    name = f"one.jsonl.torn-{len(WHOLE)}"
    assert cut(tmp_path) == [TornLine("home/projects/x/one.jsonl", 3, len(WHOLE), len(tail), name)]
    assert path.read_bytes() == WHOLE
    assert (path.with_name(name).read_bytes(), path.with_name(name).stat().st_mode & 0o777) == (tail, 0o600)
    assert cut(tmp_path) == [], "it is whole now"


@pytest.mark.parametrize("content", [b"", WHOLE, b'{"a": 1}\n', b'{"a": "' + b"x" * 3_000_000 + b'"}\n'])
def test_a_whole_file_stays_as_it_is(tmp_path: Path, content: bytes) -> None:
    path = file_in(tmp_path, content)
    assert cut(tmp_path) == []
    assert path.read_bytes() == content


def test_a_whole_line_gets_the_end_that_it_lacks(tmp_path: Path) -> None:
    path = file_in(tmp_path, WHOLE + b'{"c": 3}')
    assert cut(tmp_path) == []
    assert path.read_bytes() == WHOLE + b'{"c": 3}\n'


def test_a_file_that_is_one_torn_line_is_empty_then(tmp_path: Path) -> None:
    path = file_in(tmp_path, b"{" + b"x" * 200_000)
    [torn] = cut(tmp_path)
    assert (torn.line, torn.offset, torn.size, path.read_bytes()) == (1, 0, 200_001, b"")


def test_no_link_is_followed_and_no_shared_file_is_changed(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.write_bytes(WHOLE + b"{")
    root = tmp_path / "w"
    path = file_in(root, b"")
    path.unlink()
    path.symlink_to(outside)
    assert cut(root) == []
    path.unlink()
    os.link(outside, path)
    assert cut(root) == []
    path.unlink()
    os.mkfifo(path)
    assert cut(root) == []
    (root / "home/projects/y").symlink_to(tmp_path)
    file_in(tmp_path, WHOLE + b"{").rename(tmp_path / "one.jsonl")
    assert cut(root) == []
    assert outside.read_bytes() == WHOLE + b"{"
    assert (tmp_path / "one.jsonl").read_bytes() == WHOLE + b"{"


def test_the_kept_line_takes_the_place_of_a_link_and_follows_it_not(tmp_path: Path) -> None:
    path = file_in(tmp_path, WHOLE + b"{")
    outside = tmp_path / "outside"
    outside.write_bytes(b"mine")
    path.with_name(f"one.jsonl.torn-{len(WHOLE)}").symlink_to(outside)
    assert len(cut(tmp_path)) == 1
    assert outside.read_bytes() == b"mine"


def test_the_search_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = file_in(tmp_path, WHOLE + b"{")
    monkeypatch.setattr(torn_line, "MOST_NAMES", 1)
    assert cut(tmp_path) == []
    monkeypatch.setattr(torn_line, "MOST_NAMES", 100)
    monkeypatch.setattr(torn_line, "MOST_BYTES", 10)
    assert cut(tmp_path) == []
    assert path.read_bytes() == WHOLE + b"{"


def test_a_long_torn_line_takes_little_memory(tmp_path: Path) -> None:
    tail = b'{"c": "' + b"x" * 20_000_000
    path = file_in(tmp_path, WHOLE + tail)
    tracemalloc.start()
    try:
        [torn] = cut(tmp_path)
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most < 2_000_000
    assert (torn.size, path.read_bytes()) == (len(tail), WHOLE)
    assert path.with_name(torn.kept_as).read_bytes() == tail


def test_what_all_files_of_a_search_may_take_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = [tmp_path / f"home/projects/{name}/one.jsonl" for name in "abc"]
    for path in paths:
        path.parent.mkdir(parents=True)
        path.write_bytes(WHOLE + b"{" * 100)
    monkeypatch.setattr(torn_line, "MOST_COPIED", 150)
    assert [torn.file for torn in cut(tmp_path)] == ["home/projects/a/one.jsonl"]
    monkeypatch.setattr(torn_line, "MOST_COPIED", 1000)
    monkeypatch.setattr(torn_line, "MOST_BYTES", 200)
    assert [torn.file for torn in cut(tmp_path)] == ["home/projects/b/one.jsonl"]
    assert len(list((tmp_path / "home").rglob("*.torn-*"))) == 2
    monkeypatch.setattr(torn_line, "MOST_FILES", 1)
    paths[0].write_bytes(WHOLE + b"{")
    assert [torn.file for torn in cut(tmp_path)] == ["home/projects/a/one.jsonl"]


def test_a_file_that_has_grown_since_it_was_read_is_left_as_it_is(tmp_path: Path) -> None:
    path = file_in(tmp_path, WHOLE + b'{"c":')
    with torn_line.torn_files(tmp_path, ["home"], PATTERN, None) as [found]:
        assert path.read_bytes() == WHOLE + b'{"c":', "the search changes nothing"
        with path.open("ab") as other:
            other.write(b" 3}\n")
        assert found.mend() is None
    assert path.read_bytes() == WHOLE + b'{"c": 3}\n'
