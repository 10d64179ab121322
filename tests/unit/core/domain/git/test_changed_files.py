"""Files of patches that real git wrote."""

import subprocess
from pathlib import Path

import pytest

from relay_core.domain.git import changed_files as module
from relay_core.domain.git.changed_files import ChangedFile, changed_files


def patch_of(tmp_path: Path) -> bytes:
    def git(*words: str) -> bytes:
        identity = ("-c", "user.name=x", "-c", "user.email=x@example.org")
        return subprocess.run(["git", *identity, *words], cwd=tmp_path, check=True, capture_output=True).stdout

    git("init", "-q", "-b", "main")
    many = "".join(f"line {number}\n" for number in range(20))
    for name, content in {"kept": "-- a\n++ b\n", "old": many, "gone": "x\n", "run": "x\n", "ü n": "x\n"}.items():
        (tmp_path / name).write_text(content)
    (tmp_path / "bytes").write_bytes(bytes(range(256)))
    git("add", "-A")
    git("commit", "-q", "-m", "before")
    (tmp_path / "kept").write_text("++ b\n@@ c\n")
    (tmp_path / "old").rename(tmp_path / "new")
    (tmp_path / "gone").unlink()
    (tmp_path / "run").chmod(0o755)
    (tmp_path / "ü n").write_text("y\n")
    (tmp_path / "added").write_text("diff --git a/x b/x\n")
    (tmp_path / "bytes").write_bytes(bytes(range(255, -1, -1)))
    git("add", "-A")
    return git("diff", "--cached", "--binary", "--full-index", "-M")


def test_each_kind_of_change_is_told(tmp_path):
    assert sorted(changed_files(patch_of(tmp_path))) == sorted(
        [
            ChangedFile("added", "added", 1, 0, binary=False),
            ChangedFile("bytes", "modified", 0, 0, binary=True),
            ChangedFile("gone", "deleted", 0, 1, binary=False),
            ChangedFile("kept", "modified", 1, 1, binary=False),
            ChangedFile("new", "renamed", 0, 0, binary=False),
            ChangedFile("run", "mode", 0, 0, binary=False),
            ChangedFile("ü n", "modified", 1, 1, binary=False),
        ]
    )


def test_a_patch_that_was_cut_tells_what_is_in_it(tmp_path):
    patch = patch_of(tmp_path)
    cut = patch[: patch.rfind(b"\n", 0, len(patch) // 2) + 1]
    assert 0 < len(list(changed_files(cut))) <= len(list(changed_files(patch)))


def test_the_number_of_files_is_limited(tmp_path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(module, "MOST_FILES", 2)
    assert len(list(changed_files(patch_of(tmp_path)))) == 2
    assert list(changed_files(b"")) == []
