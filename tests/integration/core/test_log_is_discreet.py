"""What gets into the log of a process when something goes wrong: where, and never with which values."""

import logging
import math
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import httpx
import pytest
import structlog
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from relay_core import logging_setup
from relay_core.domain.vocabulary import Reason
from relay_core.logging_setup import bind_to_logs, configure_logging
from relay_core.settings import Settings
from relay_core.store.database import make_database
from relay_core.store.transaction import Database
from relay_workers.capture.pump import SCAN_SECONDS
from tests.support.api_fixtures import RUN, environment, make_tokens, settings_for
from tests.support.log_fixtures import Bench, running_execution
from tests.support.machine import free_port
from tests.support.waiting import eventually

SECRET = "swordfish-swordfish"


def test_an_error_of_the_database_shows_no_value(database_url: str, redis_url: str):
    database = make_database(settings_for(database_url, redis_url))
    with pytest.raises(DBAPIError, match="does_not_exist") as caught, database.connect() as connection:
        connection.execute(text("SELECT does_not_exist FROM tasks WHERE title = :title"), {"title": SECRET})
    assert SECRET not in str(caught.value)
    database.dispose()


def test_an_error_of_the_api_shows_no_request(database: Database, database_url: str, redis_url: str, tmp_path: Path):
    port = free_port()
    headers = {"Authorization": f"Bearer {make_tokens(database)['ann']}"}
    file = tmp_path / "api.log"
    with file.open("wb") as stderr:
        process = subprocess.Popen(
            [sys.executable, "-m", "relay_api"],
            env=environment(database_url, redis_url, RELAY_API_PORT=str(port)),
            stdout=stderr,
            stderr=stderr,
        )
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", headers=headers, timeout=15) as client:

            def answers() -> bool:
                with suppress(httpx.TransportError):
                    return client.get("/healthz").status_code == 200
                return False

            eventually(answers, seconds=30)
            with database.begin() as connection:
                connection.execute(text("ALTER TABLE execution_processes RENAME TO gone"))
            body = RUN | {"prompt": f"prompt {SECRET}", "env": {"TOKEN": f"env {SECRET}"}}
            assert client.post("/v1/runs", json=body).status_code == 500
    finally:
        process.terminate()
        process.wait(15)
    told = file.read_text()
    (line,) = [one for one in told.splitlines() if 'event="unexpected error"' in one]
    assert "path=/v1/runs" in line
    assert "Traceback" in line
    assert SECRET not in told


@contextmanager
def a_worker() -> Iterator[None]:
    """This process logs as a worker does. Not a fixture: pytest's captured stderr is another one while those are made."""
    root = logging.getLogger()
    before, level = root.handlers[:], root.level
    configure_logging("INFO")
    bind_to_logs(worker="w1")
    try:
        yield
    finally:
        logging_setup._BOUND.clear()
        structlog.reset_defaults()
        root.handlers[:] = before
        root.setLevel(level)


def test_lines_of_libraries_look_like_ours_and_carry_the_words_of_the_run(capfd: pytest.CaptureFixture[str]):
    with a_worker(), structlog.contextvars.bound_contextvars(execution_id="its-id"):
        logging.getLogger("some.library").warning("%s of two\nlines", "one")
    line = capfd.readouterr().err
    assert line.count("\n") == 1
    for word in ("level=warning", 'event="one of two\\nlines"', "worker=w1", "execution_id=its-id"):
        assert word in line


def test_what_the_pump_logs_carries_the_words_of_the_run(
    database: Database, redis_url: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
):
    bench = Bench(database, Settings(redis_url=redis_url), tmp_path)
    owned = running_execution(database)
    run = bench.run()
    with a_worker(), closing(bench):
        with structlog.contextvars.bound_contextvars(workspace_id="its-workspace", run_reason="coding_agent"):
            capture = bench.attach(owned, run)
        run.begin()
        run.write("stdout", SECRET.encode())
        eventually(lambda: bench.sizes(owned)["stdout"] == len(SECRET))
        os.truncate(run.folder / "stdout", 3)
        eventually(lambda: capture.stopped_reason is Reason.LOG_TAMPERED)
    told = capfd.readouterr().err
    (line,) = [one for one in told.splitlines() if "tampered" in one]
    for word in ("workspace_id=its-workspace", "run_reason=coding_agent", f"execution_id={owned.id}", "worker=w1"):
        assert word in line
    assert SECRET not in told


def test_the_pump_tells_that_it_goes_round_and_how_long_storing_takes(
    database: Database, redis_url: str, tmp_path: Path
):
    bench = Bench(database, Settings(redis_url=redis_url), tmp_path)
    owned, run = running_execution(database), bench.run()
    try:
        bench.attach(owned, run)
        run.begin()
        assert bench.pump.store_wait_seconds == 0
        with database.begin() as connection:
            connection.execute(text("LOCK TABLE log_chunks IN ACCESS EXCLUSIVE MODE"))
            run.write("stdout", b"waits")
            eventually(lambda: bench.pump.store_wait_seconds > 2 * SCAN_SECONDS)
            assert bench.pump.age_seconds < bench.pump.store_wait_seconds  # it listens meanwhile
        eventually(lambda: bench.sizes(owned)["stdout"] == 5)
        eventually(lambda: bench.pump.store_wait_seconds == 0)
    finally:
        bench.close()
    assert bench.pump.age_seconds == math.inf
