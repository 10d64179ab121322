"""A worker's connection to the broker is lost while messages of it are not acknowledged."""

from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest
from bench.chaos.world import CrashingValkey
from celery import Celery
from celery.worker.consumer import Consumer as CeleryConsumer
from kombu import Connection, Consumer

from relay_core.domain.message import QueueMessage, pool_queue
from relay_core.domain.vocabulary import RunReason
from relay_core.queue.celery_app import declare, make_app
from relay_core.queue.dispatcher import send
from relay_core.settings import Settings
from relay_workers.celery.intake import _TRANSPORT, RelayConsumer


@pytest.fixture
def valkey(tmp_path: Path) -> Iterator[CrashingValkey]:
    valkey = CrashingValkey(tmp_path / "valkey")
    valkey.start()
    yield valkey
    valkey.stop()


@pytest.fixture
def app(valkey: CrashingValkey) -> Celery:
    return make_app(Settings(redis_url=valkey.url))


@pytest.fixture
def unacknowledged(app: Celery) -> Connection:
    """A connection of a worker that has received a message and not acknowledged it."""
    connection = app.connection_for_read()
    connection.transport_cls = _TRANSPORT
    received: list[object] = []
    consumer = Consumer(connection.default_channel, [declare(pool_queue("default"))], accept=["json"])
    consumer.register_callback(lambda body, _: received.append(body))
    consumer.consume()
    send(app, QueueMessage(uuid4(), 1, RunReason.CLONE, "default", None))
    connection.drain_events(timeout=10)
    assert len(received) == 1
    return connection


def test_a_lost_connection_with_a_message_that_is_not_acknowledged_is_closed(
    unacknowledged: Connection, valkey: CrashingValkey
):
    """The second of two steps of Celery's consumer after a loss, of which the first was interrupted by its errors."""
    valkey.crash()
    unacknowledged._do_close_transport()
    unacknowledged.close()
    assert not unacknowledged.connected


def test_a_message_that_is_not_acknowledged_goes_back_at_a_usual_end(unacknowledged: Connection, app: Celery):
    unacknowledged.close()
    with app.connection_for_write() as connection:
        assert connection.default_channel.client.llen(pool_queue("default")) == 1


def test_a_worker_whose_main_loop_breaks_leaves_its_executions(monkeypatch: pytest.MonkeyPatch):
    def broken(_: CeleryConsumer) -> None:
        raise RuntimeError("the loop is broken")

    left = []
    monkeypatch.setattr(CeleryConsumer, "start", broken)
    monkeypatch.setattr(RelayConsumer, "leave_executions", staticmethod(lambda: left.append("all")))
    with pytest.raises(RuntimeError, match="loop is broken"):
        RelayConsumer.__new__(RelayConsumer).start()
    assert left == ["all"]


def test_a_lost_connection_that_cannot_be_closed_keeps_no_worker_from_the_next(monkeypatch: pytest.MonkeyPatch):
    def broken(_: CeleryConsumer, __: Exception) -> None:
        raise AttributeError("'NoneType' object has no attribute 'hostname'")

    monkeypatch.setattr(CeleryConsumer, "on_connection_error_after_connected", broken)
    consumer = RelayConsumer.__new__(RelayConsumer)
    consumer.channel_errors = ()
    consumer.on_connection_error_after_connected(ConnectionError("closed by server"))
