"""relay-pid1 as it is installed, and a container that the tests of a module share."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from relay_build.binaries import ensure_for_machine
from relay_build.project import Project
from relay_workers.containers.docker.client import connect
from tests.support import pid1 as support
from tests.support.engine_fixtures import base_image
from tests.support.pid1 import EMULATOR, Pid1

NOT_EMULATED = {
    "test_a_full_pids_limit_is_a_reason_of_its_own_and_kills_work": (
        "each process of the emulator needs a thread of its own, and hangs where the pids limit refuses it"
    ),
}
"""Test → the reason why it does not apply to a program under emulation."""


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what does not apply, if relay-pid1 is emulated (scripts/pid1-aarch64)."""
    if EMULATOR:
        left_out = [item for item in items if item.name in NOT_EMULATED]
        items[:] = [item for item in items if item not in left_out]
        config.hook.pytest_deselected(items=left_out)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if EMULATOR:
        terminalreporter.section("does not apply under emulation")
        for name, reason in NOT_EMULATED.items():
            terminalreporter.line(f"{name}: {reason}")


@pytest.fixture(scope="session")
def machine_program() -> Path:
    return ensure_for_machine(Project(Path(__file__).parents[5]))


@pytest.fixture(scope="session")
def program(request: pytest.FixtureRequest) -> Path:
    """The relay-pid1 under test: this machine's, or the one that RELAY_TEST_PID1 names."""
    other = os.environ.get("RELAY_TEST_PID1")
    return Path(other) if other else request.getfixturevalue("machine_program")


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
