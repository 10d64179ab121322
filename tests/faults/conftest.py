"""A Relay whose parts may be killed."""

from collections.abc import Collection, Iterator
from pathlib import Path

import pytest

from relay_core.store.schema.migrate import upgrade
from relay_stack.services.valkey import EmbeddedValkey
from tests.support.fault_stack import CrashingPostgres, Stack, fault_relay
from tests.support.relay import Relay, make_repo


@pytest.fixture(scope="package")
def servers(
    services_dir: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[CrashingPostgres, EmbeddedValkey]]:
    """A durable Postgres and a Valkey, to be restarted at will."""
    name = tmp_path_factory.mktemp("faults-servers").name
    postgres = CrashingPostgres(services_dir / f"postgres-{name}")
    valkey = EmbeddedValkey(services_dir / f"valkey-{name}")
    upgrade(postgres.start())
    valkey.start()
    yield postgres, valkey
    valkey.stop()
    postgres.stop()


@pytest.fixture(scope="package")
def whole(
    servers: tuple[CrashingPostgres, EmbeddedValkey], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Stack]:
    postgres, valkey = servers
    root = tmp_path_factory.mktemp("faults")
    relay = fault_relay(root, postgres, valkey)
    relay.start("api")
    yield Stack(relay, postgres, valkey, make_repo(root / "repo", {"README.md": "# sample\n"}))
    relay.end()


@pytest.fixture(scope="module")
def _workers_of_module(whole: Stack) -> Iterator[None]:
    """Modules that bring nodes of their own find no worker of this one."""
    yield
    _end_workers(whole.relay, keep=())


@pytest.fixture
def stack(whole: Stack, _workers_of_module: None, request: pytest.FixtureRequest) -> Iterator[Stack]:
    """With one worker, `worker`, which may have served the tests before; a test may leave any number behind."""
    relay = whole.relay
    if "worker" not in relay.processes or relay.processes["worker"].poll() is not None:
        relay.start("worker")
    before = {name: len(relay.log_of(name)) for name in ("worker", "api")}
    failures = request.session.testsfailed
    yield whole
    for name, length in before.items():  # shown with a failure
        print(f"--- {name}\n{relay.log_of(name)[length:][-12000:]}")
    _end_workers(relay, keep=("worker",) if request.session.testsfailed == failures else ())


def _end_workers(relay: Relay, keep: Collection[str]) -> None:
    for name in [name for name in relay.processes if name != "api" and name not in keep]:
        relay.kill_9(name)
