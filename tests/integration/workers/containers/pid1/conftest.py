"""relay-pid1 as it is installed, and a container that the tests of a module share."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from relay_build.binaries import ensure_for_machine
from relay_build.project import Project
from relay_workers.containers.docker.client import connect
from tests.support import pid1 as support
from tests.support.engine_fixtures import base_image
from tests.support.pid1 import Pid1


@pytest.fixture(scope="session")
def program() -> Path:
    return ensure_for_machine(Project(Path(__file__).parents[5]))


@pytest.fixture(scope="session")
def debian() -> str:
    api = connect()
    try:
        return base_image(api)
    finally:
        api.close()


@pytest.fixture(scope="module")
def pid1(program: Path, debian: str) -> Iterator[Pid1]:
    with support.running(program, debian) as started:
        yield started
