"""The session's Relay whose parts may be killed."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from relay_core.store.schema.migrate import upgrade
from relay_stack.services.valkey import EmbeddedValkey
from tests.support.fault_stack import CrashingPostgres, Stack, fault_relay
from tests.support.relay import make_repo


@pytest.fixture(scope="session")
def servers(services_dir: Path) -> Iterator[tuple[CrashingPostgres, EmbeddedValkey]]:
    """A durable Postgres and a Valkey, to be restarted at will."""
    postgres = CrashingPostgres(services_dir / "faults-postgres")
    valkey = EmbeddedValkey(services_dir / "faults-valkey")
    upgrade(postgres.start())
    valkey.start()
    yield postgres, valkey
    valkey.stop()
    postgres.stop()


@pytest.fixture(scope="session")
def whole(
    servers: tuple[CrashingPostgres, EmbeddedValkey], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Stack]:
    postgres, valkey = servers
    root = tmp_path_factory.mktemp("faults")
    relay = fault_relay(root, postgres, valkey)
    relay.start("api")
    yield Stack(relay, postgres, valkey, make_repo(root / "repo", {"README.md": "# sample\n"}))
    relay.end()


@pytest.fixture
def stack(whole: Stack) -> Iterator[Stack]:
    """With one worker, `worker`; a test may leave any number behind."""
    whole.relay.start("worker")
    before = {name: len(whole.relay.log_of(name)) for name in ("worker", "api")}
    yield whole
    for name, length in before.items():  # shown with a failure
        print(f"--- {name}\n{whole.relay.log_of(name)[length:][-12000:]}")
    for name in [name for name in whole.relay.processes if name != "api"]:
        whole.relay.kill_9(name)
