"""The clone that the tests of this folder get (conftest.py) is as one that the git container makes in its place."""

from pathlib import Path

import pytest

from tests.support.git_bench import Bench, Remote, Workspace, git

pytest_plugins = ["tests.support.git_fixtures"]
pytestmark = pytest.mark.docker


def contents(folder: Path) -> dict[str, tuple[int, int, int, bytes]]:
    """Path → mode, owner, group and content of all files and directories below the folder."""
    found = {}
    for path in sorted([folder, *folder.rglob("*")]):
        seen = path.lstat()
        content = path.read_bytes() if path.is_file() and path.name != "index" else b""  # it has the times of files
        found[str(path.relative_to(folder))] = (seen.st_mode, seen.st_uid, seen.st_gid, content)
    return found


def test_a_copied_clone_is_as_one_made_in_its_place(workspace: Workspace, bench: Bench, remote: Remote):
    mirrors = {path: contents(path) for path in bench.mirrors()}
    made = bench.clone(remote.url)
    assert contents(workspace.dir) == contents(made.dir)
    assert git(workspace.clone, "ls-files", "-s") == git(made.clone, "ls-files", "-s")
    assert (workspace.result, workspace.output[-1:]) == (made.result, made.output[-1:])
    assert {path: contents(path) for path in bench.mirrors()}.keys() == mirrors.keys() == {made.result.mirror_path}
    fresh = Bench(bench.settings, bench.tool).clone(remote.url)
    assert contents(fresh.result.mirror_path) == mirrors[made.result.mirror_path]
