"""What would grow for ever is bounded: chunks of finished logs, idempotency keys, what a tick reads."""

import hashlib
import random
import threading
from collections.abc import Iterator

import pytest
from alembic import command
from sqlalchemy import event, text

from relay_core.domain.vocabulary import Stream
from relay_core.store import idempotency
from relay_core.store.logs import compaction, log_store
from relay_core.store.logs.log_store import Append, LogStore
from relay_core.store.nodes import node_workspaces
from relay_core.store.schema.migrate import SchemaLocked, _config, upgrade
from relay_core.store.transaction import Database
from relay_workers.execution.step_log import stored_ends
from tests.support.log_fixtures import Owned, running_execution


@pytest.fixture
def store(database: Database) -> LogStore:
    return LogStore(database)


@pytest.fixture
def owned(database: Database) -> Owned:
    return running_execution(database)


def _compact(database: Database) -> list[compaction.Step]:
    steps = []
    while True:
        with database.begin() as connection:
            step = compaction.compact_one(connection)
        if step is None:
            return steps
        steps.append(step)


def _rows(database: Database, owned: Owned) -> int:
    with database.connect() as connection:
        return int(
            connection.execute(
                text("SELECT count(*) FROM log_chunks WHERE execution_id = :id"), {"id": owned.id}
            ).scalar_one()
        )


def _write(store: LogStore, owned: Owned, pieces: list[tuple[str, bytes]]) -> dict[str, bytes]:
    whole = {stream.value: b"" for stream in Stream}
    batch = []
    for stream, data in pieces:
        batch.append(Append(owned.id, owned.fence, stream, len(whole[stream]), data))
        whole[stream] += data
        whole["all"] += data
    for at in range(0, len(batch), 500):
        assert not store.append(batch[at : at + 500]).refused
    return whole


def _close(store: LogStore, database: Database, owned: Owned) -> None:
    with database.begin() as connection:
        log_store.close(connection, owned.id, owned.fence, stored_ends(store, owned.id))


def _mixed(seed: int) -> list[tuple[str, bytes]]:
    chance = random.Random(seed)
    pieces = []
    for _ in range(300):
        stream = chance.choice(("stdout", "stdout", "stdout", "stderr"))
        pieces += [(stream, chance.randbytes(chance.choice((1, 7, 40, 400)))) for _ in range(chance.randrange(1, 30))]
    pieces += [("stdout", chance.randbytes(700_000)) for _ in range(4)]
    chance.shuffle(pieces[:100])
    return pieces


def test_a_compacted_log_is_the_same_for_every_range_and_stream(
    store: LogStore, database: Database, owned: Owned, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compaction, "ROWS_AT_ONCE", 700)
    monkeypatch.setattr(compaction, "BYTES_AT_ONCE", 1_000_000)
    whole = _write(store, owned, _mixed(3))
    before = _rows(database, owned)
    assert _compact(database) == [], "a log that still grows is left alone"
    order = [(piece.stream, piece.data) for piece in store.iter_pieces(owned.id, Stream.ALL)]
    _close(store, database, owned)
    sums = store.sizes(owned.id)
    steps = _compact(database)
    assert len(steps) > 3
    assert [step.complete for step in steps] == [False] * (len(steps) - 1) + [True]
    assert _rows(database, owned) < before / 5
    assert store.sizes(owned.id) == sums
    chance = random.Random(4)
    for stream, expected in whole.items():
        assert b"".join(store.iter_range(owned.id, stream, 0, 1 << 40)) == expected
        assert sums[stream].sha256 == hashlib.sha256(expected).hexdigest()
        for _ in range(30):
            start = chance.randrange(len(expected) + 1)
            end = start + chance.choice((0, 1, 50, 70_000))
            assert b"".join(store.iter_range(owned.id, stream, start, end)) == expected[start:end]
    assert _joined(order) == _joined([(one.stream, one.data) for one in store.iter_pieces(owned.id, Stream.ALL)])
    assert _compact(database) == []


def _joined(pieces: list[tuple[str, bytes]]) -> list[tuple[str, bytes]]:
    """Neighbours of one stream as one."""
    joined: list[tuple[str, bytes]] = []
    for stream, data in pieces:
        if joined and joined[-1][0] == stream:
            joined[-1] = (stream, joined[-1][1] + data)
        else:
            joined.append((stream, data))
    return joined


def test_a_log_of_two_thousand_lines_takes_two_rows_and_less_room(
    store: LogStore, database: Database, owned: Owned
) -> None:
    whole = _write(store, owned, [("stdout", b"line %d\n" % number) for number in range(2000)])
    _close(store, database, owned)
    _compact(database)
    with database.connect() as connection:
        rows = connection.execute(
            text("SELECT octet_length(data) FROM log_chunks WHERE execution_id = :id"), {"id": owned.id}
        ).all()
    assert len(rows) <= 2
    assert sum(row[0] for row in rows) < len(whole["stdout"]) / 2


def test_readers_in_the_middle_of_a_log_notice_nothing(store: LogStore, database: Database, owned: Owned) -> None:
    whole = _write(store, owned, [("stdout", b"%06d\n" % number) for number in range(6000)])
    _close(store, database, owned)
    begun = threading.Barrier(3)
    read: list[bytes] = []

    def reader(piece: int) -> None:
        chunks: Iterator[bytes] = store.iter_range(owned.id, Stream.ALL, 0, 1 << 40, piece=piece)
        data = next(chunks)
        begun.wait(10)
        for chunk in chunks:
            data += chunk
        read.append(data)

    threads = [threading.Thread(target=reader, args=(piece,)) for piece in (100, 333)]
    for thread in threads:
        thread.start()
    begun.wait(10)
    _compact(database)
    for thread in threads:
        thread.join(60)
    assert read == [whole["all"], whole["all"]]


def test_old_keys_are_forgotten_some_at_a_time_by_an_index(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(idempotency, "FORGOTTEN_AT_ONCE", 30)
    with database.begin() as connection:
        connection.execute(
            text(
                "INSERT INTO idempotency_keys (owner, key, request_hash, created_at) "
                "SELECT 'ann', n::text, '', now() - make_interval(hours => n) FROM generate_series(1, 20000) n"
            )
        )
        connection.execute(text("DELETE FROM idempotency_keys WHERE created_at < now() - interval '100 hours'"))
        connection.execute(text("ANALYZE idempotency_keys"))
    counts = []
    for _ in range(4):
        with database.begin() as connection:
            counts.append(idempotency.forget_old(connection, 24))
    assert counts == [30, 30, 17, 0]
    with database.connect() as connection:
        connection.execute(text("SET enable_seqscan = off"))
        plan = connection.scalars(
            text("EXPLAIN SELECT owner FROM idempotency_keys WHERE created_at < now() ORDER BY created_at LIMIT 5")
        ).all()
    assert any("idempotency_keys_created" in line for line in plan)


def test_a_tick_reads_what_is_there_and_not_what_ever_was(database: Database, owned: Owned) -> None:
    with database.begin() as connection:
        connection.execute(text("UPDATE workspaces SET container_ref = '/x', state = 'running'"))
        columns = [
            name
            for name in connection.scalars(
                text("SELECT column_name FROM information_schema.columns WHERE table_name = 'workspaces'")
            )
            if name not in {"id", "deleted_at", "container_ref"}
        ]
        copied = ", ".join(columns)
        connection.execute(
            text(
                f"INSERT INTO workspaces (id, deleted_at, container_ref, {copied}) "
                f"SELECT gen_random_uuid(), now(), NULL, {copied} FROM workspaces, generate_series(1, 2000)"
            )
        )
        gone = connection.execute(text("SELECT id FROM workspaces WHERE deleted_at IS NOT NULL LIMIT 1")).scalar_one()
        connection.execute(text("ANALYZE workspaces"))
    with database.connect() as connection:
        found = node_workspaces.differing(connection, "node-1", {"container": gone})
    assert set(found.unneeded) == {gone}
    assert not [*found.missing, *found.deleted]


def test_a_migration_does_not_make_everybody_wait_for_a_table(
    database: Database, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("relay_core.store.schema.migrate.LOCK_SECONDS", 1)
    with database.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '0007'"))
        connection.execute(text("DROP INDEX idempotency_keys_created"))
    with database.begin() as busy:
        busy.execute(text("LOCK TABLE idempotency_keys IN ROW EXCLUSIVE MODE"))
        with pytest.raises(SchemaLocked, match="relay db upgrade"):
            upgrade(database_url)


def test_an_older_schema_with_finished_logs_is_upgraded(database: Database, database_url: str, owned: Owned) -> None:
    with database.begin() as connection:
        command.downgrade(_config(connection), "0007")
        connection.execute(text("UPDATE log_streams SET closed = true"))
    statements: list[str] = []
    event.listen(database.engine, "before_cursor_execute", lambda *arguments: statements.append(arguments[2]))
    assert upgrade(database_url) >= "0008"
    with database.connect() as connection:
        assert compaction.waiting(connection) == 1
    assert [step.complete for step in _compact(database)] == [True]
