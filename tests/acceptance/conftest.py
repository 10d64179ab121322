"""One Relay for this folder, and a repository that it can clone."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.engine import make_url

from relay_stack.services.postgres import EmbeddedPostgres
from relay_stack.services.valkey import EmbeddedValkey
from tests.support.forge_server import ForgeServer, forge_server
from tests.support.relay import Relay, environment_of, make_repo


@pytest.fixture(scope="session")
def github() -> Iterator[ForgeServer]:
    """The host of pull requests of remotes that are directories."""
    with forge_server("github") as made:
        yield made


@pytest.fixture(scope="package")
def relay(
    postgres_server: EmbeddedPostgres,
    services_dir: Path,
    tmp_path_factory: pytest.TempPathFactory,
    github: ForgeServer,
) -> Iterator[Relay]:
    """One API and one worker for the tests of this folder; its Valkey is its own, so it takes no message of others."""
    root = tmp_path_factory.mktemp("relay")
    valkey = EmbeddedValkey(services_dir / f"valkey-{root.name}")
    template = make_url(postgres_server.url)
    name = f"acceptance_{uuid4().hex}"
    admin = create_engine(template.set(database="postgres"), isolation_level="AUTOCOMMIT")
    with admin.connect() as connection:
        connection.execute(text(f'CREATE DATABASE "{name}" TEMPLATE relay_template STRATEGY file_copy'))
    database_url = template.set(database=name).render_as_string(hide_password=False)
    forges = {"RELAY_FORGES": f"file=github:{github.url}"}
    relay = Relay(environment_of(root, database_url, valkey.start()) | forges, root)
    relay.start("api")
    relay.start("worker")
    yield relay
    relay.end()
    valkey.stop()
    with admin.connect() as connection:
        connection.execute(text(f'DROP DATABASE "{name}" WITH (FORCE)'))
    admin.dispose()
    shutil.rmtree(root, ignore_errors=True)


@pytest.fixture(autouse=True)
def say_what_the_worker_said(relay: Relay) -> Iterator[None]:
    """What worker and API logged during a test, shown with its failure."""
    before = {name: len(relay.log_of(name)) for name in ("worker", "api")}
    yield
    for name, length in before.items():
        print(f"--- {name}\n{relay.log_of(name)[length:][-8000:]}")


@pytest.fixture
def repo(tmp_path: Path) -> Path:
    """A small repository that a worker can clone by file://."""
    return make_repo(tmp_path / "sample", {"README.md": "# sample\n", "src/app.py": "print('hello')\n"})
