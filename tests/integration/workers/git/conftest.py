"""Fixtures of this folder alone: names that a plugin of `tests/support` has for something else.

Half of the tests here are about what happens to a clone, and not about its making. The git container makes one clone
for all of them; each gets a copy of it, its mirror and its remote (test_copied_clone.py: it is as one made in its place).
"""

from pathlib import Path

import pytest

from relay_workers.containers.docker.tool_container import DockerToolRunner
from tests.support.copied_clone import MadeClone
from tests.support.git_bench import Bench, Remote, Workspace
from tests.support.git_fixtures import make_bench, make_remote


@pytest.fixture(scope="session")
def made_clone(tmp_path_factory: pytest.TempPathFactory, tool_runner: DockerToolRunner) -> MadeClone:
    folder = tmp_path_factory.mktemp("clone")
    bench, remote = make_bench(folder, tool_runner), make_remote(folder)
    return MadeClone(bench, remote, bench.clone(remote.url))


@pytest.fixture
def remote(made_clone: MadeClone, tmp_path: Path) -> Remote:
    return made_clone.copy_remote(tmp_path / "remote")


@pytest.fixture
def workspace(made_clone: MadeClone, bench: Bench, remote: Remote) -> Workspace:
    """A clone of the remote."""
    return made_clone.copy(bench, remote)
