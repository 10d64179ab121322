"""One Relay for the session, and a repository that it can clone."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.engine import make_url

from relay_stack.services.postgres import EmbeddedPostgres
from tests.support.relay import Relay, environment_of, make_repo


@pytest.fixture(scope="session")
def relay(
    postgres_server: EmbeddedPostgres, redis_url: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Relay]:
    """One API and one worker for the session."""
    root = tmp_path_factory.mktemp("relay")
    template = make_url(postgres_server.url)
    admin = create_engine(template.set(database="postgres"), isolation_level="AUTOCOMMIT")
    with admin.connect() as connection:
        connection.execute(text("CREATE DATABASE acceptance TEMPLATE relay_template"))
    database_url = template.set(database="acceptance").render_as_string(hide_password=False)
    relay = Relay(environment_of(root, database_url, redis_url), root)
    relay.start("api")
    relay.start("worker")
    yield relay
    relay.end()
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
