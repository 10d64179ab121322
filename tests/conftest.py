"""Real services for the tests: one Postgres and one Valkey per session, a fresh database per test."""

import gc
import os
import shutil
import signal
import tempfile
from collections.abc import Callable, Generator, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from types import FrameType
from typing import Any
from uuid import uuid4

import pytest
import structlog
from sqlalchemy import create_engine, text
from sqlalchemy.engine import make_url

from relay_core.settings import get_settings
from relay_core.store.schema.migrate import upgrade
from relay_core.store.transaction import Database
from relay_stack.services.postgres import EmbeddedPostgres
from relay_stack.services.valkey import EmbeddedValkey
from tests.support import proved
from tests.support.grouping import order_of, processes_for_stacks
from tests.support.published import Published
from tests.support.relay import Relay

ROOT = Path(__file__).parent
TEMPLATE = "relay_template"
PLUGINS = ("containers_port", "engine_fixtures", "fake_node", "git_fixtures", "git_port", "worker_fixtures")
"""Modules of tests/support that test modules both import from and name in `pytest_plugins`."""
pytest.register_assert_rewrite(*(f"tests.support.{name}" for name in PLUGINS))
NICENESS = 5
"""Of the processes for small tests, while others run whole stacks."""


def pytest_configure() -> None:
    """A developer's own RELAY_* settings have no say in a test."""
    gc.disable()  # until the tests are collected: what they are made of stays
    for name in [name for name in os.environ if name.startswith("RELAY_") and not name.startswith("RELAY_TEST_")]:
        del os.environ[name]
    get_settings.cache_clear()
    _log_as_plain_text()
    Relay.preloads = True
    _let_children_have_signals()
    _leave_time_to_stacks()
    _give_examples_time()
    os.umask(0o022)  # tests make files for other accounts as a worker does, which sets its own


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """With `--dist loadscope` a process gets groups of tests/support/grouping.py."""
    if config.getvalue("dist") != "loadscope":
        return None
    from tests.support.group_scheduling import GroupScheduling  # pytest-xdist is not installed in every environment

    return GroupScheduling(config, log)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begins with the groups that take longest."""
    if "PYTEST_XDIST_WORKER" in os.environ:
        for item in items:
            _give_time(item)
    items.sort(key=lambda item: order_of(item.path.relative_to(ROOT)))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Note the outcome of a test that proves a numbered requirement."""
    report = yield
    proved.note(item, report)
    return report


def pytest_collection_finish() -> None:
    """Leaves the modules and the tests out of what the garbage collector walks through again and again."""
    gc.freeze()
    gc.enable()


def _give_examples_time() -> None:
    """Let Hypothesis set no time limit for one example: on a busy machine it says nothing about the code.

    In continuous integration its own profile does this, which it finds by itself.
    """
    if "CI" not in os.environ:
        import hypothesis  # it takes a while

        hypothesis.settings.register_profile("relay", deadline=None)
        hypothesis.settings.load_profile("relay")


def _leave_time_to_stacks() -> None:
    """Lower the priority of a process that runs small tests only, with that of its servers (group_scheduling.py)."""
    number = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    if number >= processes_for_stacks():
        os.nice(NICENESS)


def _give_time(item: pytest.Item) -> None:
    """Makes the test's limit of time three times as long, as the processes share the processors."""
    own = item.get_closest_marker("timeout")
    seconds = float(own.args[0] if own else item.config.getini("timeout"))
    item.add_marker(pytest.mark.timeout(3 * seconds), append=False)


def _log_as_plain_text() -> None:
    """Leave tracebacks in colour out of the log: rich takes 20 ms and more for each, and no program of Relay uses it."""
    renderer = structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)
    structlog.configure(processors=[*structlog.get_config()["processors"][:-1], renderer])


def _let_children_have_signals() -> None:
    """What the caller ignores (nohup, a shell's background job) is inherited by all children; what is caught is not."""
    for number in signal.valid_signals() - {signal.SIGCHLD, signal.SIGPIPE, signal.SIGXFSZ}:  # the last two: Python's
        if signal.getsignal(number) is signal.SIG_IGN:
            catches = signal.default_int_handler if number == signal.SIGINT else _go_on
            signal.signal(number, signal.SIG_DFL if number == signal.SIGQUIT else catches)


def _go_on(_number: int, _frame: FrameType | None) -> None:
    """As ignoring it, for this process alone."""


@pytest.fixture(scope="session")
def services_dir() -> Iterator[Path]:
    """Where the session's servers keep their data; other accounts can pass, as Postgres does not run as root.

    scripts/test names a folder in memory: copying the template there takes an eighth of the processor time.
    """
    path = Path(tempfile.mkdtemp(prefix="relay-test-", dir=os.environ.get("RELAY_TEST_SERVERS_DIR")))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture(scope="session")
def postgres_server(services_dir: Path) -> Iterator[EmbeddedPostgres]:
    """A server whose databases do not survive a power cut."""
    server = EmbeddedPostgres(services_dir / "postgres", durable=False, database=TEMPLATE)
    upgrade(server.start())
    yield server
    server.stop()


@pytest.fixture(scope="session")
def redis_url(services_dir: Path) -> Iterator[str]:
    """A Valkey of the session; tests use keys of their own ids, and none flushes it."""
    server = EmbeddedValkey(services_dir / "valkey")
    yield server.start()
    server.stop()


@pytest.fixture(scope="session")
def new_database(postgres_server: EmbeddedPostgres) -> Iterator[Callable[[], AbstractContextManager[str]]]:
    """Makes a migrated database, and drops it in the end; all calls have one connection, as a new one costs 10 ms."""
    template = make_url(postgres_server.url)
    admin = create_engine(
        template.set(database="postgres"), pool_size=1, pool_pre_ping=True, isolation_level="AUTOCOMMIT"
    )

    @contextmanager
    def make() -> Iterator[str]:
        name = f"test_{uuid4().hex}"
        with admin.connect() as connection:
            connection.execute(text(f'CREATE DATABASE "{name}" TEMPLATE "{TEMPLATE}" STRATEGY file_copy'))
        yield template.set(database=name).render_as_string(hide_password=False)
        with admin.connect() as connection:
            connection.execute(text(f'DROP DATABASE "{name}" WITH (FORCE)'))

    yield make
    admin.dispose()


@pytest.fixture
def database_url(new_database: Callable[[], AbstractContextManager[str]]) -> Iterator[str]:
    """A fresh, migrated database."""
    with new_database() as url:
        yield url


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    """The test's database; its publisher keeps what committed transactions sent."""
    database = Database(create_engine(database_url), Published())
    yield database
    database.dispose()
