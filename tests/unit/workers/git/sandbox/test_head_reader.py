import os
from pathlib import Path

import pytest

from relay_workers.git.port import Head
from relay_workers.git.sandbox.head_reader import read_head

ONE, TWO = "1" * 40, "2" * 40


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    git_dir = tmp_path / "repos" / "r" / ".git"
    (git_dir / "refs" / "heads").mkdir(parents=True)
    (git_dir / "HEAD").write_text("ref: refs/heads/main\n")
    return git_dir


def head(clone: Path) -> Head:
    return read_head(clone.parents[2], "r")


def test_a_loose_branch(clone):
    (clone / "refs/heads/main").write_text(f"{ONE}\n")
    assert head(clone) == Head(ONE, "main", None)


def test_a_packed_branch_and_a_loose_one_that_wins(clone):
    (clone / "packed-refs").write_text(f"# pack-refs with: sorted\n{TWO} refs/heads/main\n^{ONE}\n{ONE} refs/heads/x\n")
    assert head(clone) == Head(TWO, "main", None)
    (clone / "refs/heads/main").write_text(f"{ONE}\n")
    assert head(clone) == Head(ONE, "main", None)


def test_nested_branches_and_empty_directories(clone):
    (clone / "HEAD").write_text("ref: refs/heads/a/b/c")
    (clone / "packed-refs").write_text(f"{TWO} refs/heads/a/b/c\n")
    assert head(clone).commit == TWO
    (clone / "refs/heads/a/b/c").mkdir(parents=True)
    assert head(clone).commit == TWO
    (clone / "refs/heads/a/b/c").rmdir()
    (clone / "refs/heads/a/b/c").write_text(ONE)
    assert head(clone) == Head(ONE, "a/b/c", None)


def test_a_detached_head(clone):
    (clone / "HEAD").write_text(f"{ONE}\n")
    assert head(clone) == Head(ONE, None, None)


def test_a_branch_without_a_commit(clone):
    found = head(clone)
    assert (found.commit, found.branch) == (None, "main")
    assert "no commit" in str(found.problem)


def replace(path: Path, how: str) -> None:
    """Put something in the place of a file or directory that a clone should have."""
    if path.is_dir():
        path.rename(path.with_name("moved"))
    else:
        path.unlink(missing_ok=True)
    if how == "symlink":
        path.symlink_to("/etc/shadow")
    elif how == "directory link":
        path.symlink_to("/etc")
    elif how == "fifo":
        os.mkfifo(path)
    elif how == "hard link":
        path.with_name("other").write_text(ONE)
        os.link(path.with_name("other"), path)
    elif how == "sparse":
        with path.open("wb") as file:
            file.truncate(1 << 40)
    elif how == "directory":
        path.mkdir()


@pytest.mark.parametrize("how", ["symlink", "directory link", "fifo", "hard link", "sparse", "directory", "nothing"])
@pytest.mark.parametrize("what", ["HEAD", "refs/heads/main", "refs/heads", "refs", "packed-refs", "."])
def test_no_trap_is_followed_and_none_raises(clone, what, how):
    replace(clone / what if what != "." else clone, how)

    found = head(clone)

    assert found.commit is None
    assert found.problem


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"ref:",
        b"ref: HEAD",
        b"ref: ../../../etc/passwd",
        b"ref: refs/heads/../../../../x",
        b"ref: refs/heads/.invalid",
        b"ref: /etc/passwd",
        b"ref: refs/heads/a\0b",
        b"ref: refs//heads",
        b"\xff\xfe",
        b"x" * 5000,
        b"1" * 39,
    ],
)
def test_nonsense_in_head_is_a_problem(clone, content):
    (clone / "HEAD").write_bytes(content)
    found = head(clone)
    assert found.commit is None
    assert found.problem


def test_symbolic_refs_end(clone):
    (clone / "refs/heads/main").write_text("ref: refs/heads/main")
    assert "too many" in str(head(clone).problem)


@pytest.mark.parametrize("packed", [True, False])
def test_a_branch_whose_name_is_not_utf8_has_its_commit(clone, packed):
    (clone / "HEAD").write_bytes(b"ref: refs/heads/caf\xe9\n")
    if packed:
        (clone / "packed-refs").write_bytes(b"%s refs/heads/caf\xe9\n" % ONE.encode())
    else:
        (clone / "refs/heads" / os.fsdecode(b"caf\xe9")).write_text(ONE)

    found = head(clone)

    assert (found.commit, found.branch) == (ONE, None)
    assert "caf\\xe9, a name that is not UTF-8" in str(found.problem)


def test_a_clone_within_another_repository_is_a_problem(clone):
    (clone / "commondir").write_text("/elsewhere")
    assert "another repository" in str(head(clone).problem)


def test_a_missing_clone(tmp_path):
    assert read_head(tmp_path, "none").problem == "the clone has no .git directory"
