"""Following a log: no byte lost or doubled, whatever Redis does."""

import asyncio
import random
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis
from sqlalchemy import text

from relay_core.domain.logs.append import Append
from relay_core.live_log.follower import LiveLogFollower
from relay_core.live_log.publisher import LiveLogPublisher
from relay_core.live_log.redis_entries import key
from relay_core.settings import Settings
from relay_core.store.logs.log_store import LogStore
from relay_core.store.transaction import Database
from relay_stack.services.valkey import EmbeddedValkey
from tests.support.log_fixtures import close_log, running_execution
from tests.support.waiting import eventually


class Author:
    """Stores and publishes as the pump does."""

    def __init__(self, database: Database, settings: Settings) -> None:
        self.database = database
        self.store = LogStore(database)
        self.publisher = LiveLogPublisher(settings)
        self.owned = running_execution(database)
        self.written = {"stdout": b"", "stderr": b"", "all": b""}

    def write(self, stream: str, data: bytes, *, publish: bool = True) -> None:
        append = Append(self.owned.id, self.owned.fence, stream, len(self.written[stream]), data)
        result = self.store.append([append])
        self.written[stream] += data
        self.written["all"] += data
        if publish:
            self.publisher.publish(result.stored)

    def close(self) -> None:
        close_log(self.database, self.owned)
        self.publisher.end(self.owned.id)


@pytest.fixture
def settings(redis_url: str) -> Settings:
    return Settings(redis_url=redis_url, live_log_max_bytes=1 << 20)


@pytest.fixture
def author(database: Database, settings: Settings) -> Iterator[Author]:
    author = Author(database, settings)
    yield author
    author.publisher.close()


@pytest.fixture
def client(redis_url: str) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(redis_url) as client:
        yield client


def _follow(settings: Settings, author: Author, stream: str = "all", offset: int = 0, stop_after: int | None = None):
    """The bytes from one connection; all of them, or some more than ``stop_after``."""

    async def body() -> bytes:
        live = LiveLogFollower(settings, author.store)
        found = b""
        async for piece in live.follow(author.owned.id, stream, offset):
            assert piece.offset == offset + len(found)
            found += piece.data
            if stop_after is not None and len(found) > stop_after:
                break
        await live.close()
        return found

    return asyncio.run(asyncio.wait_for(body(), 60))


def _while_writing(write, follow):
    thread = threading.Thread(target=write)
    thread.start()
    try:
        return follow()
    finally:
        thread.join()


def _scribble(author: Author, count: int, *, pause: float = 0.0, largest: int = 20_000) -> None:
    chance = random.Random(1)
    for _ in range(count):
        author.write(chance.choice(("stdout", "stderr")), chance.randbytes(chance.randrange(1, largest)))
        time.sleep(pause)


def test_ten_readers_in_turn_get_every_byte_while_it_is_written(author: Author, settings: Settings) -> None:
    for stream in ("stdout", "all"):
        fresh = Author(author.database, settings)

        def write(fresh: Author = fresh) -> None:
            _scribble(fresh, 100, pause=0.01)
            fresh.close()

        def follow(fresh: Author = fresh, stream: str = stream) -> bytes:
            found = b""
            for _ in range(10):
                found += _follow(settings, fresh, stream, len(found), stop_after=30_000)
            return found + _follow(settings, fresh, stream, len(found))

        assert _while_writing(write, follow) == fresh.written[stream]
        fresh.publisher.close()


def test_a_reader_behind_by_more_than_redis_keeps_loses_nothing(author: Author, settings: Settings) -> None:
    def write() -> None:
        for _ in range(20):
            author.write("stdout", random.Random(2).randbytes(600_000))
        author.close()

    assert _while_writing(write, lambda: _follow(settings, author)) == author.written["all"]


def test_entries_are_small_and_the_tail_is_bounded_and_expires(
    author: Author, client: redis.Redis, settings: Settings
) -> None:
    for _ in range(40):
        author.write("stdout", bytes(100_000))
    eventually(lambda: client.xrevrange(key(author.owned.id), count=1)[0][0] == b"4000000-0")
    entries = [fields for _, fields in client.xrange(key(author.owned.id))]
    assert all(len(fields[b"data"]) <= 32 << 10 for fields in entries)
    assert sum(len(fields[b"data"]) for fields in entries) <= settings.live_log_max_bytes + (64 << 10)
    assert 0 < client.ttl(key(author.owned.id)) <= settings.live_log_ttl_seconds


def test_a_live_byte_arrives_soon_and_nobody_asks_postgres_for_it(
    author: Author, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def body() -> list[float]:
        live = LiveLogFollower(settings, author.store)
        stream = live.follow(author.owned.id, "all", 0)
        author.write("stdout", b"first")
        assert (await anext(stream)).data == b"first"
        delays = []
        for _ in range(20):
            following = asyncio.ensure_future(anext(stream))
            await asyncio.sleep(0.02)
            began = time.monotonic()
            await asyncio.to_thread(author.write, "stdout", b"more")
            assert (await following).data == b"more"
            delays.append(time.monotonic() - began)
        await live.close()
        return delays

    asked = []
    original = LogStore.pieces
    monkeypatch.setattr(LogStore, "pieces", lambda *arguments: asked.append(1) or original(*arguments))
    delays = asyncio.run(asyncio.wait_for(body(), 30))
    assert sorted(delays)[10] < 0.5  # far below the interval at which Postgres would be asked
    assert len(asked) <= 2


def test_redis_that_forgets_everything_costs_nothing_but_time(
    author: Author, client: redis.Redis, settings: Settings
) -> None:
    def write() -> None:
        for _ in range(5):
            _scribble(author, 10, pause=0.01)
            client.delete(key(author.owned.id))  # what FLUSHALL does to this run; the server is shared by the tests
        author.close()

    assert _while_writing(write, lambda: _follow(settings, author)) == author.written["all"]


def test_chunks_that_were_never_published_are_found(author: Author, settings: Settings) -> None:
    def write() -> None:
        for number in range(40):
            author.write("stdout", b"%d\n" % number, publish=number % 3 == 0)
            time.sleep(0.01)
        author.close()

    assert _while_writing(write, lambda: _follow(settings, author)) == author.written["all"]


def test_a_redis_that_dies_and_comes_back_is_used_again(database: Database, tmp_path: Path) -> None:
    server = EmbeddedValkey(tmp_path / "valkey", durable=False)
    settings = Settings(redis_url=server.start())
    author = Author(database, settings)
    try:

        def write() -> None:
            _scribble(author, 10, pause=0.01)
            server.stop()
            longest = 0.0
            for _ in range(20):
                began = time.monotonic()
                author.write("stdout", b"nobody hears this\n")
                longest = max(longest, time.monotonic() - began)
            assert longest < 0.5
            server.start()
            with redis.Redis.from_url(settings.redis_url) as client:

                def heard() -> bool:
                    author.write("stdout", b"again\n")
                    return bool(client.exists(key(author.owned.id)))

                eventually(heard)
            author.close()

        assert _while_writing(write, lambda: _follow(settings, author)) == author.written["all"]
    finally:
        author.publisher.close()
        server.stop()


def test_a_log_without_any_redis_is_followed_from_postgres(database: Database) -> None:
    nowhere = Settings(redis_url="redis://127.0.0.1:1/0")
    author = Author(database, nowhere)

    def write() -> None:
        _scribble(author, 20, pause=0.02)
        author.close()

    began = time.monotonic()
    assert _while_writing(write, lambda: _follow(nowhere, author)) == author.written["all"]
    assert time.monotonic() - began < 10
    author.publisher.close()


def test_the_log_of_an_execution_that_never_started_ends(
    author: Author, database: Database, settings: Settings
) -> None:
    with database.begin() as connection:
        connection.execute(text("DELETE FROM log_streams"))
        connection.execute(
            text(
                "UPDATE execution_processes SET status = 'killed', reason = 'user', completed_at = now() WHERE id = :id"
            ),
            {"id": author.owned.id},
        )
    assert _follow(settings, author) == b""


def test_offsets_given_twice_start_the_tail_anew(author: Author, client: redis.Redis, database: Database) -> None:
    author.write("stdout", b"lost by a crash of Postgres")
    eventually(lambda: client.exists(key(author.owned.id)) == 1)
    with database.begin() as connection:
        connection.execute(text("DELETE FROM log_chunks"))
        connection.execute(text("UPDATE log_streams SET bytes = 0"))
    author.written = dict.fromkeys(author.written, b"")
    author.write("stderr", b"other")
    eventually(lambda: client.exists(key(author.owned.id)) == 0)
    author.write("stderr", b"wise")
    eventually(lambda: [fields[b"data"] for _, fields in client.xrange(key(author.owned.id))] == [b"wise"])


def test_a_hundred_readers_share_one_loop(author: Author, settings: Settings) -> None:
    async def body() -> None:
        live = LiveLogFollower(settings, author.store)

        async def read() -> bytes:
            return b"".join([piece.data async for piece in live.follow(author.owned.id, "all", 0)])

        readers = [asyncio.ensure_future(read()) for _ in range(100)]
        threads = threading.active_count()
        await asyncio.to_thread(_scribble, author, 20, pause=0.02, largest=500)
        assert threading.active_count() <= threads + 12
        await asyncio.to_thread(author.close)
        found = await asyncio.gather(*readers)
        await live.close()
        assert set(found) == {author.written["all"]}

    asyncio.run(asyncio.wait_for(body(), 60))
