"""Fixtures of the git tests; a test module names this one in `pytest_plugins`."""

from collections.abc import Iterator
from pathlib import Path
from socket import create_server, socket

import docker
import pytest

from relay_core.settings import Settings
from relay_workers.containers.docker.tool_container import DockerToolRunner
from tests.support.git_bench import Bench, Remote, git


@pytest.fixture(scope="session")
def tool_runner() -> Iterator[DockerToolRunner]:
    client = docker.from_env()
    runner = DockerToolRunner(client)
    yield runner
    runner.close()
    client.close()


def make_bench(folder: Path, tool_runner: DockerToolRunner) -> Bench:
    settings = Settings(
        data_dir=folder / "data",
        git_allow_file=True,
        git_allow_http=True,
        git_allow_git_protocol=True,
        git_allow_private_hosts=True,
        node_min_free_bytes=0,
        evidence_pack_max_bytes=8 << 20,
        git_container_memory_bytes=256 << 20,
        clone_timeout_seconds=60,
        git_container_timeout_seconds=60,
    )
    return Bench(settings, tool_runner)


def make_remote(folder: Path) -> Remote:
    path = folder / "remote"
    path.mkdir()
    git(path, "init", "-q", "-b", "main")
    made = Remote(path)
    made.commit({"README": "hello\n", "src/a.py": "print(1)\n", "src/b.py": "print(2)\n"})
    return made


@pytest.fixture
def bench(tmp_path: Path, tool_runner: DockerToolRunner) -> Bench:
    return make_bench(tmp_path, tool_runner)


@pytest.fixture
def remote(tmp_path: Path) -> Remote:
    return make_remote(tmp_path)


@pytest.fixture
def silent_server() -> Iterator[socket]:
    with create_server(("127.0.0.1", 0)) as server:
        yield server
