"""The log that a worker writes itself, on a real Postgres and Valkey."""

import hashlib
import threading
import time
from collections.abc import Iterator

import pytest

from relay_core.domain.vocabulary import Stream
from relay_core.live_log.publisher import LiveLogPublisher
from relay_core.settings import Settings
from relay_core.store.logs import log_store
from relay_core.store.logs.log_store import LogStore
from relay_core.store.transaction import Database
from relay_workers.execution.step_log import WAITING_BYTES, StepLog
from relay_workers.ownership.live_executions import OwnershipLost
from tests.support.log_fixtures import Owned, running_execution, taken_over
from tests.support.waiting import eventually


@pytest.fixture
def live(redis_url: str) -> Iterator[LiveLogPublisher]:
    publisher = LiveLogPublisher(Settings(redis_url=redis_url))
    yield publisher
    publisher.close()


@pytest.fixture
def owned(database: Database) -> Owned:
    return running_execution(database)


def _log(database: Database, live: LiveLogPublisher, owned: Owned, log_bytes: int = 1 << 30, **more) -> StepLog:
    more.setdefault("lost", threading.Event())
    return StepLog(LogStore(database), live, owned.id, owned.fence, log_bytes=log_bytes, **more)


def _stored(database: Database, owned: Owned) -> bytes:
    return LogStore(database).read(owned.id, Stream.STDOUT, 0, 1 << 40)


@pytest.mark.alone
def test_an_outage_of_postgres_takes_no_time_from_who_writes_and_nothing_is_lost(
    database: Database, live: LiveLogPublisher, owned: Owned, outage: threading.Event
) -> None:
    with _log(database, live, owned) as log:
        log.say("before")
        outage.set()
        began = time.monotonic()
        for number in range(1000):
            log.write(b"remote: counting %d\r" % number)
        assert time.monotonic() - began < 1, "a fetch that waits here runs into its deadline"
        ends: list[dict[str, log_store.StreamEnd]] = []
        ender = threading.Thread(target=lambda: ends.append(log.ends()))
        ender.start()
        ender.join(0.5)
        assert not ends
        outage.clear()
        ender.join(20)
    stored = _stored(database, owned)
    assert stored == b"relay: before\n" + b"".join(b"remote: counting %d\r" % number for number in range(1000))
    assert ends[0]["stdout"] == ends[0]["all"] == (len(stored), hashlib.sha256(stored).hexdigest(), False)
    with database.begin() as connection:
        log_store.close(connection, owned.id, owned.fence, ends[0])


def test_memory_is_bounded_while_postgres_is_away(
    database: Database, live: LiveLogPublisher, owned: Owned, outage: threading.Event
) -> None:
    with _log(database, live, owned) as log:
        outage.set()
        log.write(b"x" * WAITING_BYTES)
        writer = threading.Thread(target=log.write, args=(b"one more",))
        writer.start()
        writer.join(0.3)
        assert writer.is_alive()
        outage.clear()
        writer.join(20)
    assert len(_stored(database, owned)) == WAITING_BYTES + len("one more")


def test_stored_bytes_stop_exactly_at_the_cap_and_the_end_says_so(
    database: Database, live: LiveLogPublisher, owned: Owned
) -> None:
    with _log(database, live, owned, log_bytes=1000) as log:
        log.write(b"a" * 999)
        assert not log.ends()["stdout"].truncated
        log.write(b"bc")
        log.write(b"d" * 5000)
        ends = log.ends()
    assert _stored(database, owned) == b"a" * 999 + b"b"
    assert ends["all"] == (1000, hashlib.sha256(b"a" * 999 + b"b").hexdigest(), True)
    assert not ends["stderr"].truncated
    with _log(database, live, owned, log_bytes=1000) as adopter:
        adopter.write(b"again")
        assert adopter.ends()["all"] == ends["all"]


def test_leaving_stores_the_rest(database: Database, live: LiveLogPublisher, owned: Owned) -> None:
    with pytest.raises(ZeroDivisionError), _log(database, live, owned) as log:
        log.say(f"the last line before {1 / 0}")
    with pytest.raises(ZeroDivisionError), _log(database, live, owned) as log:
        _fail_after(log)
    assert _stored(database, owned) == b"relay: the last line\n"


def _fail_after(log: StepLog) -> None:
    log.say("the last line")
    raise ZeroDivisionError


def test_another_owner_ends_it(database: Database, live: LiveLogPublisher, owned: Owned) -> None:
    with pytest.raises(OwnershipLost), _log(database, live, owned) as log:
        _write_beside_another_owner(database, owned, log)
    assert _stored(database, owned) == b"relay: mine\n"


def _write_beside_another_owner(database: Database, owned: Owned, log: StepLog) -> None:
    log.say("mine")
    log.ends()
    taken_over(database, owned)
    log.say("not mine")
    log.ends()


def test_a_run_that_is_lost_is_left_during_an_outage(
    database: Database, live: LiveLogPublisher, owned: Owned, outage: threading.Event
) -> None:
    lost = threading.Event()
    before = threading.active_count()
    log = _log(database, live, owned, lost=lost)
    outage.set()
    log.say("kept from nobody")
    lost.set()
    with pytest.raises(OwnershipLost), log:
        log.ends()
    eventually(lambda: threading.active_count() <= before + 1)  # the publisher's
