"""Checkouts in the git container: odd and large contents, limits, kills, and files read from a commit."""

import os
import threading
import time
from pathlib import Path

import pytest

from relay_core.domain.errors import StepFailed
from relay_core.domain.vocabulary import Reason
from relay_workers.git.port import FetchRequest
from tests.support.git_bench import Bench, Remote, git, own, refused, write

pytest_plugins = ["tests.support.git_fixtures"]
pytestmark = pytest.mark.docker


def test_a_killed_checkout_is_made_again_and_a_complete_one_kept(bench, remote):
    workspace = bench.workspace()
    workspace.clone.parent.mkdir(parents=True)
    for path in (workspace.dir, workspace.clone.parent):
        own(path)
    write(workspace.clone.parent / "repo.partial-0123" / "half")

    bench.clone(remote.url, into=workspace)
    assert [path.name for path in workspace.clone.parent.iterdir()] == ["repo"]
    base = workspace.base
    write(workspace.clone / "precious")
    remote.commit({"later": "1"})
    bench.clone(remote.url, into=workspace)

    assert workspace.base == base
    assert (workspace.clone / "precious").exists()


def test_submodules_are_reported_and_left_empty(bench, remote, tmp_path):
    (tmp_path / "sub").mkdir()
    git(tmp_path / "sub", "init", "-q")
    Remote(tmp_path / "sub").commit({"s": "1"})
    git(remote.path, "-c", "protocol.file.allow=always", "submodule", "add", "-q", str(tmp_path / "sub"), "lib sub")
    git(remote.path, "commit", "-qm", "submodule")

    workspace = bench.clone(remote.url)

    assert workspace.result is not None
    assert workspace.result.submodules == ("lib sub",)
    assert list((workspace.clone / "lib sub").iterdir()) == []
    assert b"Submodules are left empty" in b"".join(workspace.output)
    state = workspace.after()
    assert (state.dirty, state.problem) == (False, None)


def test_files_of_lfs_are_reported_and_left_as_pointers(bench, remote):
    """A real pointer, as git-lfs 3 writes it; nothing here runs git-lfs."""
    pointer = f"version https://git-lfs.github.com/spec/v1\noid sha256:{'a' * 64}\nsize 5\n"
    remote.commit(
        {
            ".gitattributes": "*.bin filter=lfs diff=lfs merge=lfs -text\n",
            "data/big one.bin": pointer,
            "new\nhead x.bin": pointer,
            "raw.bin": "committed by mistake",
            "text": pointer,
        }
    )

    workspace = bench.clone(remote.url)

    assert (workspace.clone / "data/big one.bin").read_text() == pointer
    told = [line for line in b"".join(workspace.output).decode().splitlines() if "LFS" in line]
    assert told == ['Files of Git LFS are left as pointers: data/big one.bin, "new\\nhead x.bin"']
    assert workspace.base == git(remote.path, "rev-parse", "main")
    assert not workspace.after().dirty


def test_odd_names_links_and_modes_arrive(bench, remote):
    odd = {"with space": "1", "new\nline": "2", "tab\there": "3", 'quo"te': "4", "-dash": "5", "ü/ñ": "6", "*": "7"}
    remote.commit(odd)
    (remote.path / "link").symlink_to("/etc/passwd")
    (remote.path / "run.sh").write_text("#!/bin/sh\n")
    (remote.path / "run.sh").chmod(0o755)
    remote.commit({})

    workspace = bench.clone(remote.url)

    for name, content in odd.items():
        assert (workspace.clone / name).read_text() == content
    assert (workspace.clone / "link").readlink() == Path("/etc/passwd")
    assert os.access(workspace.clone / "run.sh", os.X_OK)
    assert not workspace.after().dirty


def test_five_thousand_files(bench, remote):
    remote.commit({f"d{n % 40}/f{n}": f"{n}\n" for n in range(5000)})

    workspace = bench.clone(remote.url)

    assert len(git(workspace.clone, "ls-files").splitlines()) == 5003
    assert not workspace.after().dirty
    for n in range(0, 5000, 2):
        write(workspace.clone / f"d{n % 40}/f{n}", "changed\n")
    state = workspace.after("half of them")
    assert state.committed
    assert state.patch is not None
    assert state.patch.files == 2500


def tree_of(path: Path, entries: list[tuple[str, str, str, str]]) -> str:
    listing = "".join(f"{mode} {kind} {oid}\t{name}\n" for mode, kind, oid, name in entries)
    return git(path, "mktree", text=listing)


def bomb(remote: Remote, *, blob: bytes, levels: int, width: int) -> None:
    """A commit of a few kilobytes whose checkout is as large as one likes."""
    (remote.path / "blob").write_bytes(blob)
    oid = git(remote.path, "hash-object", "-w", "blob")
    entries = [("100644", "blob", oid, f"f{n}") for n in range(width)]
    for _ in range(levels):
        oid = tree_of(remote.path, entries)
        entries = [("040000", "tree", oid, f"d{n}") for n in range(width)]
    commit = git(remote.path, "commit-tree", "-m", "bomb", tree_of(remote.path, entries))
    git(remote.path, "update-ref", "refs/heads/bomb", commit)
    (remote.path / "blob").unlink()


def test_a_bomb_of_files_is_refused_before_it_is_written(bench, remote):
    bomb(remote, blob=b"x", levels=10, width=10)

    message = refused(bench, Reason.DISK_LIMIT, remote.url, "bomb")

    assert "more than 1000000 files" in message


def test_a_bomb_of_bytes_is_refused_before_it_is_written(bench, remote):
    bomb(remote, blob=bytes(20 << 20), levels=2, width=50)

    message = refused(bench, Reason.DISK_LIMIT, remote.url, "bomb")

    assert "larger than" in message


def test_a_bomb_for_the_memory_dies_in_its_container(bench, remote):
    bomb(remote, blob=b"x", levels=5, width=12)
    small = bench.with_settings(git_container_memory_bytes=64 << 20, checkout_max_files=10**9)

    assert "MiB of memory" in refused(small, Reason.OOM, remote.url, "bomb")


def test_a_checkout_that_takes_too_long_is_ended(bench, remote):
    bomb(remote, blob=b"x", levels=5, width=12)
    quick = bench.with_settings(
        git_container_timeout_seconds=1, checkout_max_files=10**9, git_container_memory_bytes=1 << 30
    )

    assert "more than 1 s" in refused(quick, Reason.CLONE_TIMEOUT, remote.url, "bomb")


@pytest.mark.alone
def test_a_checkout_can_be_cancelled(bench, remote):
    bomb(remote, blob=b"x", levels=5, width=12)
    patient = bench.with_settings(checkout_max_files=10**9, git_container_memory_bytes=1 << 30)
    patient.clone(remote.url)
    cancelled = threading.Event()
    threading.Timer(0.8, cancelled.set).start()
    workspace = bench.workspace()
    started = time.monotonic()

    with pytest.raises(StepFailed) as error:
        patient.clone(remote.url, "bomb", into=workspace, cancelled=cancelled)

    assert error.value.reason == Reason.USER
    assert time.monotonic() - started < 3
    assert list(workspace.clone.parent.iterdir()) == []


def test_a_missing_image_is_named(bench, remote):
    message = refused(bench.with_settings(git_image="relay-none:1"), Reason.IMAGE_UNAVAILABLE, remote.url)
    assert "relay-none:1" in message


def files_of(bench: Bench, remote: Remote, *paths: str, target: str | None = None, ref: str | None = None):
    request = FetchRequest(bench.project, remote.url, target, lambda _: None, threading.Event(), ref)
    return bench.service.files_of_target(bench.service.fetch(request), paths, 100)


def test_files_of_a_commit_are_read_as_git_stores_them(bench, remote):
    write(remote.path / ".gitattributes", "relay.toml filter=evil eol=crlf export-subst\n")
    write(remote.path / "relay.toml", "image = 1\n")
    write(remote.path / "large", "x" * 1000)
    write(remote.path / "folder/relay.toml", "in a folder\n")
    (remote.path / "link").symlink_to("/etc/passwd")
    remote.commit({}, "files")
    found = files_of(bench, remote, "relay.toml", "gone", "large", "src", "folder/relay.toml", "link", "*.toml", "-r")
    assert {file.path: file.content for file in found} == {
        "relay.toml": b"image = 1\n",
        "large": b"x" * 101,
        "src": None,
        "folder/relay.toml": b"in a folder\n",
        "link": None,
    }


def test_files_come_from_the_target_branch_also_if_the_clone_starts_from_another_ref(bench, remote):
    git(remote.path, "checkout", "-q", "-b", "theirs")
    write(remote.path / "relay.toml", "image = 'evil'\n")
    theirs = remote.commit({}, "their file")
    git(remote.path, "checkout", "-q", "main")
    assert files_of(bench, remote, "relay.toml", ref=theirs) == []
    assert files_of(bench, remote, "relay.toml", ref=theirs, target="theirs")[0].content == b"image = 'evil'\n"
