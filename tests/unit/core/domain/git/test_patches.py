"""Patches as git writes them: which files they are of, what is masked in them, and what that does to them."""

import os
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from relay_core.domain.git.patches import file_parts
from relay_core.domain.logs.masking import SecretMask
from relay_core.domain.logs.secret_forms import maskable
from relay_workers.git.host.masked_patch import masked_patch

SECRET = "hunter2-hunter2"
NOISE = bytes(range(256)) * 8


def git(where: Path, *argv: str, given: bytes = b"", fails: bool = False) -> bytes:
    identity = ("-c", "user.name=a", "-c", "user.email=a@b")
    done = subprocess.run(["git", *identity, *argv], cwd=where, capture_output=True, input=given, check=False)
    assert bool(done.returncode) == fails, done.stderr
    return done.stderr if fails else done.stdout


def repository(where: Path) -> Path:
    where.mkdir()
    git(where, "init", "-q")
    (where / "conf").write_text(f"mode: {SECRET}\n")
    (where / "old name").write_text("".join(f"{number}\n" for number in range(20)))
    (where / "gone").write_text("x\n")
    (where / "pic.png").write_bytes(NOISE)
    git(where, "add", "-A")
    git(where, "commit", "-qm", "base")
    return where


def change(where: Path, *, binary: bytes) -> bytes:
    (where / "conf").write_text(f"kind: {SECRET}\n")
    (where / "old name").rename(where / 'new "name"\t\n')
    (where / "gone").unlink()
    (where / "pic.png").write_bytes(binary)
    (where / "pic.png").chmod(0o755)
    (where / os.fsdecode(b"caf\xe9")).write_text("diff --git a/x b/x\n")
    git(where, "add", "-A")
    return git(where, "diff", "--cached", "--binary", "--full-index", "-M", "HEAD")


def contents_of(where: Path, asked: list[str]) -> "Contents":
    return Contents(where, asked)


class Contents:
    """Reads blobs, and remembers which were asked for."""

    def __init__(self, where: Path, asked: list[str]) -> None:
        self._where, self._asked = where, asked

    def __call__(self, names: Sequence[str]) -> Mapping[str, bytes]:
        self._asked += names
        return {name: git(self._where, "cat-file", "blob", name) for name in names}


def test_every_kind_of_change_is_taken_apart(tmp_path: Path):
    patch = change(repository(tmp_path / "r"), binary=NOISE[::-1])
    parts = list(file_parts(patch))
    assert b"".join(patch[part.start : part.end] for part in parts) == patch
    assert {part.path for part in parts} == {"conf", 'new "name"\t\n', "gone", "pic.png", "caf�"}
    assert [part.path for part in parts if part.binary_at is not None] == ["pic.png"]


def test_a_patch_without_a_secret_is_left_as_it_is_and_applies(tmp_path: Path):
    patch = change(repository(tmp_path / "r"), binary=NOISE[::-1])
    asked: list[str] = []
    assert masked_patch(patch, SecretMask(maskable(["another secret"])), contents_of(tmp_path / "r", asked)) == (
        patch,
        (),
    )
    assert len(asked) == 2
    other = repository(tmp_path / "other")
    git(other, "apply", "--check", given=patch)


def test_an_empty_patch_stays_empty():
    assert masked_patch(b"", SecretMask(maskable([SECRET])), lambda _: {}) == (b"", ())


def test_files_with_a_masked_place_are_named(tmp_path: Path):
    where = repository(tmp_path / "r")
    patch = change(where, binary=NOISE[::-1])
    masked, paths = masked_patch(patch, SecretMask(maskable([SECRET])), contents_of(where, []))
    assert paths == ("conf",)
    assert len(masked) == len(patch)
    assert SECRET.encode() not in masked


def test_binary_content_with_a_secret_is_left_out(tmp_path: Path):
    where = repository(tmp_path / "r")
    patch = change(where, binary=NOISE + SECRET.encode())
    masked, paths = masked_patch(patch, SecretMask(maskable([SECRET])), contents_of(where, []))
    assert paths == ("conf", "pic.png")
    assert b"GIT binary patch" not in masked
    said = git(repository(tmp_path / "other"), "apply", "--check", "--include=pic.png", given=masked, fails=True)
    assert b"pic.png" in said, "it is refused, and not applied as something else"
    assert [part.path for part in file_parts(masked)] == [part.path for part in file_parts(patch)]


def test_content_that_is_too_large_to_be_searched_is_left_out(tmp_path: Path):
    patch = change(repository(tmp_path / "r"), binary=NOISE[::-1])
    _, paths = masked_patch(patch, SecretMask(maskable(["another secret"])), lambda _: {})
    assert paths == ("pic.png",)


def test_a_secret_in_a_path_is_masked_where_it_is_named(tmp_path: Path):
    where = repository(tmp_path / "r")
    (where / SECRET).write_text("x\n")
    git(where, "add", "-A")
    patch = git(where, "diff", "--cached", "--binary", "--full-index", "HEAD")
    assert masked_patch(patch, SecretMask(maskable([SECRET])), contents_of(where, []))[1] == ("*" * len(SECRET),)
