"""Fixtures of this folder alone: names that a plugin of `tests/support` has for something else.

Half of the tests here are about what happens to a clone, and not about its making. The git container makes one clone
for all of them; each gets a copy of it, its mirror and its remote (test_copied_clone.py: it is as one made in its place).
"""

import subprocess
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from relay_workers.containers.docker.tool_container import DockerToolRunner
from tests.support.git_bench import Bench, Remote, Workspace
from tests.support.git_fixtures import make_bench, make_remote


@dataclass(frozen=True)
class MadeClone:
    """A clone that the git container made, and its remote."""

    remote: Remote
    workspace: Workspace


@pytest.fixture(scope="session")
def made_clone(tmp_path_factory: pytest.TempPathFactory, tool_runner: DockerToolRunner) -> MadeClone:
    folder = tmp_path_factory.mktemp("clone")
    remote = make_remote(folder)
    return MadeClone(remote, make_bench(folder, tool_runner).clone(remote.url))


@pytest.fixture
def remote(made_clone: MadeClone, tmp_path: Path) -> Remote:
    copy(made_clone.remote.path, tmp_path / "remote")
    return Remote(tmp_path / "remote")


@pytest.fixture
def workspace(made_clone: MadeClone, bench: Bench, remote: Remote) -> Workspace:
    """A clone of the remote."""
    made, workspace = made_clone.workspace, bench.workspace()
    assert made.result is not None
    mirror = bench.service.mirror_path(bench.project, remote.url)
    copy(made.dir, workspace.dir)
    copy(made.result.mirror_path, mirror)
    (workspace.clone / ".git/objects/info/alternates").write_text(f"{mirror}/objects\n")
    for config in (workspace.clone / ".git/config", mirror / "config"):
        config.write_text(config.read_text().replace(str(made_clone.remote.path), str(remote.path)))
    workspace.result = replace(made.result, mirror_path=mirror)
    workspace.output = list(made.output)
    return workspace


def copy(path: Path, to: Path) -> None:
    """Copy a directory with the owners, modes and times of all that is in it."""
    to.parent.mkdir(parents=True, exist_ok=True)
    subprocess.run(["cp", "-a", path, to], check=True)
