"""The API as a process, and what it tells workers."""

import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any
from uuid import UUID

import httpx
import pytest
import redis
from sqlalchemy import text

from relay_core.domain.message import task_id
from relay_core.queue.celery_app import make_app
from relay_core.store import idempotency
from relay_core.store.schema.tables import IdempotencyKey
from relay_core.store.transaction import Database
from relay_stack.services.valkey import EmbeddedValkey
from tests.support.api_fixtures import (
    RUN,
    Api,
    Worker,
    api_in_process,
    environment,
    make_tokens,
    settings_for,
)
from tests.support.machine import free_port
from tests.support.waiting import eventually


@contextmanager
def black_hole() -> Iterator[str]:
    """The URL of a Redis that takes connections and never answers."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(64)
        yield f"redis://127.0.0.1:{listener.getsockname()[1]}/0"


def test_it_serves_and_stops_while_a_stream_is_open(database: Database, database_url: str, redis_url: str):
    port = free_port()
    command = [sys.executable, "-m", "relay_api"]
    process = subprocess.Popen(command, env=environment(database_url, redis_url, RELAY_API_PORT=str(port)))
    try:
        headers = {"Authorization": f"Bearer {make_tokens(database)['ann']}"}
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", headers=headers, timeout=15) as client:

            def answers() -> bool:
                with suppress(httpx.TransportError):
                    return client.get("/healthz").status_code == 200
                return False

            eventually(answers, seconds=30)
            made = client.post("/v1/runs", json=RUN).json()
            with client.stream("GET", made["links"]["logs"]) as stream:
                next(stream.iter_bytes())
                process.send_signal(signal.SIGTERM)
                assert process.wait(10) in {0, -signal.SIGTERM}
    finally:
        process.kill()
        process.wait()


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"RELAY_API_PORT": "70000"}, "RELAY_API_PORT"),
        ({"RELAY_DATABASE_URL": "postgresql+psycopg2://nobody@127.0.0.1:1/x"}, "the database does not answer"),
    ],
)
def test_it_says_in_one_message_why_it_cannot_start(
    database_url: str, redis_url: str, change: dict[str, str], expected: str
):
    done = subprocess.run(
        [sys.executable, "-m", "relay_api"],
        env=environment(database_url, redis_url) | change,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1
    assert expected in done.stderr
    assert "Traceback" not in done.stderr


def test_it_refuses_an_older_schema_and_says_what_to_run(database: Database, database_url: str, redis_url: str):
    with database.begin() as connection:
        connection.execute(text("DELETE FROM alembic_version"))
    command = [sys.executable, "-m", "relay_api"]
    env = environment(database_url, redis_url)
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert "run: relay db upgrade" in done.stderr


@pytest.fixture
def api(database: Database, database_url: str, redis_url: str) -> Iterator[Api]:
    with api_in_process(database, settings_for(database_url, redis_url)) as api:
        yield api


def test_a_kill_is_told_to_workers_at_once(api: Api, database: Database, redis_url: str):
    worker, made = Worker(database), api.run()
    worker.claim(made["execution_id"])
    told: list[Any] = []
    app = make_app(settings_for("", redis_url))
    with app.connection_for_read() as connection:
        handlers = {"revoke": lambda state, task_id, **options: told.append((task_id, options))}
        box = app.control.mailbox(connection)
        node = box.Node("listener@test", channel=connection.default_channel, handlers=handlers)
        with node.listen(callback=node.handle_message):
            with suppress(socket.timeout):
                connection.drain_events(timeout=0.2)  # only now kombu subscribes
            api.post(f"/v1/executions/{made['execution_id']}/kill")
            ends = time.monotonic() + 10
            while not told and time.monotonic() < ends:
                with suppress(socket.timeout):
                    connection.drain_events(timeout=1)
    [(ids, options)] = told
    assert ids == [task_id(UUID(made["execution_id"]), 1)]
    assert (options["terminate"], options["signal"]) == (True, "SIGTERM")


@pytest.mark.alone
def test_a_silent_redis_delays_no_answer(database: Database, database_url: str):
    with black_hole() as url, api_in_process(database, settings_for(database_url, url)) as api:
        worker = Worker(database)
        begun = time.monotonic()
        made = api.run()
        worker.claim(made["execution_id"])
        assert api.post(f"/v1/executions/{made['execution_id']}/kill").status_code == 202
        assert time.monotonic() - begun < 2
        assert api.client.get("/healthz").json()["status"] == "degraded"


def test_a_redis_that_refuses_writes_is_not_ok(database: Database, database_url: str, tmp_path):
    """F18: it answers a PING, and no message can be sent."""
    server = EmbeddedValkey(tmp_path / "full", durable=False)
    url = server.start()
    try:
        with api_in_process(database, settings_for(database_url, url)) as api, redis.Redis.from_url(url) as client:
            assert api.client.get("/healthz").json()["status"] == "ok"
            client.config_set("maxmemory", "1")
            health = api.client.get("/healthz").json()
            assert health["status"] == "degraded"
            assert health["checks"]["redis"] == {"ok": False, "error": "refuses writes"}
    finally:
        server.stop()


def test_the_message_is_on_the_pools_queue(api: Api, redis_url: str):
    with redis.Redis.from_url(redis_url) as client:
        before = client.llen("relay:pool.default")
        api.run()
        eventually(lambda: client.llen("relay:pool.default") == before + 1)


def test_a_key_is_forgotten_after_its_time(api: Api, database: Database):
    headers = {"Idempotency-Key": "old"}
    first = api.post("/v1/runs", RUN, headers=headers).json()
    with database.begin() as connection:
        connection.execute(text("UPDATE idempotency_keys SET created_at = now() - interval '25 hours'"))
    second = api.post("/v1/runs", RUN | {"title": "other"}, headers=headers)
    assert second.status_code == 202
    assert second.json()["execution_id"] != first["execution_id"]
    with database.begin() as connection:
        connection.execute(IdempotencyKey.__table__.update().values(created_at=text("now() - interval '25 hours'")))
        assert idempotency.forget_old(connection, 24) == 1
