"""relay-pid1, built once, and a container that the tests of a module share."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from relay_workers.containers.docker.client import connect
from tests.support import pid1 as support
from tests.support.engine_fixtures import base_image
from tests.support.pid1 import Pid1


@pytest.fixture(scope="session")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return support.build(tmp_path_factory.mktemp("pid1") / "relay-pid1")


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
