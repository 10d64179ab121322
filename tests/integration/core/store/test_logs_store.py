"""Log bytes in Postgres: guarded appends, exact reads of any range, lost answers, lost commits."""

import hashlib
import random
import threading
from collections.abc import Iterator

import pytest
from sqlalchemy import event, text

from relay_core.domain.errors import RelayError, Stale
from relay_core.domain.logs.append import Append, RefusedAppends
from relay_core.domain.vocabulary import Stream
from relay_core.store.logs import log_store
from relay_core.store.logs.log_store import LogStore, LogStoreUnavailable
from relay_core.store.transaction import Database
from relay_workers.execution.step_log import stored_ends
from tests.support.log_fixtures import Owned, append_one, close_log, running_execution, taken_over


@pytest.fixture
def store(database: Database) -> LogStore:
    return LogStore(database)


@pytest.fixture
def owned(database: Database) -> Owned:
    return running_execution(database)


def _fill(store: LogStore, owned: Owned, seed: int = 1) -> dict[str, bytes]:
    """Chunks of many sizes on both streams, compressible and not; returns what each stream must hold."""
    chance = random.Random(seed)
    whole = {stream.value: b"" for stream in Stream}
    for size in (1, 2, 127, 129, 5000, 1 << 20, (1 << 20) + 1, 3, 2_500_000, 40):
        stream = chance.choice(("stdout", "stderr"))
        data = chance.randbytes(size) if chance.random() < 0.5 else (b"line of text\n" * size)[:size]
        result = store.append([Append(owned.id, owned.fence, stream, len(whole[stream]), data)])
        assert result.stored[0].all_offset == len(whole["all"])
        whole[stream] += data
        whole["all"] += data
    return whole


def test_every_range_of_every_stream_is_exact(store: LogStore, owned: Owned) -> None:
    whole = _fill(store, owned)
    chance = random.Random(2)
    for stream, expected in whole.items():
        assert b"".join(store.iter_range(owned.id, stream, 0, len(expected) + 10)) == expected
        assert store.sizes(owned.id)[stream].bytes == len(expected)
        for _ in range(20):
            start = chance.randrange(len(expected) + 1)
            end = min(len(expected), start + chance.choice((0, 1, 100, 70_000, 3_000_000)))
            pieces = list(store.iter_range(owned.id, stream, start, end, piece=65_536))
            assert b"".join(pieces) == expected[start:end]
            assert all(len(piece) <= 65_536 for piece in pieces)
        assert store.read(owned.id, stream, len(expected), 100) == b""
    assert b"".join(piece.data for piece in store.iter_pieces(owned.id, Stream.ALL)) == whole["all"]


def test_a_log_written_byte_by_byte_reads_whole(store: LogStore, owned: Owned) -> None:
    batch = [Append(owned.id, owned.fence, "stdout", at, bytes([at % 256])) for at in range(2500)]
    assert len(store.append(batch).stored) == 2500
    assert store.read(owned.id, Stream.STDOUT, 0, 1 << 20) == bytes(at % 256 for at in range(2500))


def test_an_old_fence_stores_nothing_while_others_in_the_batch_do(
    store: LogStore, database: Database, owned: Owned
) -> None:
    other = running_execution(database)
    taken_over(database, owned)
    batch = [Append(owned.id, owned.fence, "stdout", 0, b"late"), Append(other.id, other.fence, "stdout", 0, b"fine")]
    result = store.append(batch)
    assert result.refused == {owned.id: RefusedAppends(None)}
    assert store.sizes(owned.id)[Stream.ALL].bytes == 0
    assert store.read(other.id, Stream.ALL, 0, 100) == b"fine"
    with pytest.raises(Stale):
        append_one(store, batch[0])
    with pytest.raises(Stale):
        store.confirm(owned.id, owned.fence)


def test_a_closed_log_takes_nothing_more(store: LogStore, database: Database, owned: Owned) -> None:
    close_log(database, owned, hashlib.sha256().hexdigest())
    assert store.append([Append(owned.id, owned.fence, "stdout", 0, b"x")]).refused == {owned.id: RefusedAppends(None)}
    assert store.progress(owned.id).complete
    with pytest.raises(Stale):
        close_log(database, Owned(owned.id, owned.fence - 1))


def test_a_log_is_closed_only_with_the_sum_of_the_bytes_it_holds(
    store: LogStore, database: Database, owned: Owned
) -> None:
    ends = stored_ends(store, owned.id)
    store.append([Append(owned.id, owned.fence, "stderr", 0, b"late")])
    with pytest.raises(Stale, match="no longer has the 0 bytes"), database.begin() as connection:
        log_store.close(connection, owned.id, owned.fence, ends)
    assert not any(info.closed or info.sha256 for info in store.sizes(owned.id).values())
    with database.begin() as connection:
        log_store.close(connection, owned.id, owned.fence, stored_ends(store, owned.id))
    assert store.sizes(owned.id)["all"].sha256 == hashlib.sha256(b"late").hexdigest()


def test_of_two_writers_with_one_fence_each_byte_is_stored_once(store: LogStore, owned: Owned) -> None:
    def write(letter: bytes) -> None:
        start = 0
        while start < 50:
            result = store.append([Append(owned.id, owned.fence, "stdout", start, letter)])
            refused = result.refused.get(owned.id)
            start = start + 1 if refused is None else refused.sizes["stdout"]

    threads = [threading.Thread(target=write, args=(letter,)) for letter in (b"a", b"b")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    size = store.sizes(owned.id)[Stream.STDOUT].bytes
    assert len(store.read(owned.id, Stream.STDOUT, 0, 1000)) == size
    assert store.confirm(owned.id, owned.fence) == {"stdout": size, "stderr": 0, "all": size}


@pytest.fixture
def cut_before_commit(database: Database) -> Iterator[threading.Event]:
    """While set, Postgres ends each connection that is about to COPY."""
    armed = threading.Event()

    def on_checkout(connection, record, proxy) -> None:
        if armed.is_set():
            armed.clear()
            with connection.cursor() as cursor:
                cursor.execute("SELECT pg_backend_pid()")
                pid = cursor.fetchone()[0]
            with database.connect() as killer:
                killer.execute(text("SELECT pg_terminate_backend(:pid, 5000)"), {"pid": pid})

    event.listen(database.engine, "checkout", on_checkout)
    yield armed
    event.remove(database.engine, "checkout", on_checkout)


def test_an_append_on_a_cut_connection_says_so_and_can_be_repeated(
    store: LogStore, owned: Owned, cut_before_commit: threading.Event
) -> None:
    batch = [Append(owned.id, owned.fence, "stdout", 0, b"abc"), Append(owned.id, owned.fence, "stderr", 0, b"de")]
    cut_before_commit.set()
    with pytest.raises(LogStoreUnavailable):
        store.append(batch)
    first = store.append(batch)
    again = store.append(batch)  # as after a commit whose answer was lost
    assert [one.all_offset for one in again.stored] == [one.all_offset for one in first.stored] == [0, 3]
    assert store.read(owned.id, Stream.ALL, 0, 100) == b"abcde"


def test_a_missing_chunk_is_an_error_and_not_a_shift(store: LogStore, database: Database, owned: Owned) -> None:
    for at in range(3):
        store.append([Append(owned.id, owned.fence, "stdout", at, b"x")])
    with database.begin() as connection:
        connection.execute(text("DELETE FROM log_chunks WHERE start_offset = 1"))
    with pytest.raises(RelayError, match="a chunk is missing"):
        store.read(owned.id, Stream.STDOUT, 0, 3)


def test_nothing_is_known_of_a_log_that_was_never_opened(store: LogStore, owned: Owned) -> None:
    assert not store.progress(owned.id).complete
    assert store.progress(owned.id).sizes == {"stdout": 0, "stderr": 0, "all": 0}
    assert store.read(owned.id, Stream.ALL, 0, 10) == b""
