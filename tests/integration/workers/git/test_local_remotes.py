"""Local remotes are checked: who controls them, and which directories they reach into."""

import os
import shutil
import subprocess

import pytest

from relay_core.domain.errors import StepFailed
from relay_core.domain.vocabulary import Reason
from tests.support.git_bench import Bench, Remote, git, refused

pytest_plugins = ["tests.support.git_fixtures"]
pytestmark = pytest.mark.docker


def test_local_remotes_that_a_container_or_another_host_controls_are_refused(bench, remote, tmp_path):
    inside = bench.clone(remote.url).clone
    git(remote.path, "config", "uploadpack.allowFilter", "true")
    partial = tmp_path / "partial"
    subprocess.run(["git", "clone", "-q", "--filter=blob:none", "--no-checkout", remote.url, partial], check=True)
    (tmp_path / "link").symlink_to(inside)

    for url, message in (
        (f"file://{inside}", "data directory"),
        (f"file://{tmp_path}/link", "data directory"),
        (str(partial), "partial clone"),
    ):
        with pytest.raises(StepFailed, match=message):
            bench.clone(url)


def test_a_repository_whose_dot_git_is_a_file(bench, remote, tmp_path):
    git(remote.path, "worktree", "add", "-q", "-b", "side", tmp_path / "worktree")
    side = Remote(tmp_path / "worktree").commit({"side": "1"})
    git(tmp_path, "clone", "-q", "--separate-git-dir", tmp_path / "kept.git", remote.url, "separate")
    git(remote.path, "-c", "protocol.file.allow=always", "submodule", "add", "-q", remote.url, "lib")
    (tmp_path / "around").mkdir()
    git(tmp_path, "clone", "-q", "--bare", remote.url, "around/.bare")
    (tmp_path / "around" / ".git").write_text("gitdir: ./.bare\n")
    (tmp_path / "dangling").mkdir()
    (tmp_path / "dangling" / ".git").write_text("gitdir: ../gone\n")

    found = bench.clone(f"file://{tmp_path}/worktree")
    assert (found.base, found.result.target_branch) == (side, "side")
    for path in (tmp_path / "separate", remote.path / "lib", tmp_path / "around"):
        assert bench.clone(f"file://{path}").result.target_branch == "main"
    assert "points to '../gone'" in refused(bench, Reason.CLONE_FAILED, f"file://{tmp_path}/dangling")


@pytest.mark.parametrize("how", ["alternate", "alternate of it", "objects", "pack", "loose", "refs", "dot git"])
def test_a_local_remote_that_reaches_into_relay_s_directory_is_refused(bench, remote, tmp_path, how):
    """Otherwise objects of another project's mirror would be checked out."""
    bench.clone(remote.url)
    (mirror_of_another,) = bench.mirrors()
    evil = tmp_path / "evil.git"
    git(tmp_path, "init", "-q", "--bare", "evil.git")
    objects = evil / "objects"
    if how.startswith("alternate"):
        (tmp_path / "between" / "info").mkdir(parents=True)
        (tmp_path / "between" / "info" / "alternates").write_text(f"{mirror_of_another}/objects\n")
        target = mirror_of_another / "objects" if how == "alternate" else tmp_path / "between"
        (objects / "info" / "alternates").write_text(f"# a comment\n{os.path.relpath(target, objects)}\n")
    elif how == "dot git":
        (evil / ".git").write_text(f"gitdir: {mirror_of_another}\n")
    else:
        place, target = {
            "objects": ("objects", mirror_of_another / "objects"),
            "pack": ("objects/pack", mirror_of_another / "objects" / "pack"),
            "loose": ("objects/ab", mirror_of_another / "objects"),
            "refs": ("refs", mirror_of_another / "refs"),
        }[how]
        if (evil / place).exists():
            shutil.rmtree(evil / place)
        (evil / place).symlink_to(target)
    if how != "refs":
        (evil / "refs" / "heads" / "main").write_text(git(remote.path, "rev-parse", "main") + "\n")

    message = refused(Bench(bench.settings, bench.tool), Reason.CLONE_FAILED, f"file://{evil}")

    assert "Relay's own data directory" in message


def test_alternates_elsewhere_are_followed(bench, remote, tmp_path):
    git(tmp_path, "clone", "-q", "--shared", remote.path, "borrower")
    assert (bench.clone(f"file://{tmp_path}/borrower").clone / "README").exists()
