"""Looks for what is left of a secret: in Postgres, Redis, files, command lines, and commands to Redis."""

import base64
import contextlib
import json
import os
import threading
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote, quote_plus
from uuid import uuid4

import pytest
import zstandard
from ahocorasick_rs import BytesAhoCorasick
from redis import Redis
from sqlalchemy import text

from tests.support.relay import Relay

FRAGMENT = 12
"""Of no form are so many bytes in a row to be found."""


def forms(secret: str) -> Iterator[bytes]:
    """Made here by other means than those of the masker."""
    raw = secret.encode()
    for before in range(3):
        for encode in (base64.b64encode, base64.urlsafe_b64encode):
            yield encode(b"x" * before + raw + b"yyy")[-(-before * 8 // 6) : (before + len(raw)) * 8 // 6]
    once = json.dumps(secret)[1:-1]
    texts = [secret, quote(secret), quote(secret, safe=""), quote_plus(secret), raw.hex(), raw.hex().upper()]
    texts += [once, json.dumps(once)[1:-1], once.replace("/", "\\/"), "".join(f"%{byte:02x}" for byte in raw)]
    yield from (each.encode() for each in texts)


class Leaks:
    """Looks for what is left of a secret."""

    def __init__(self, secret: str) -> None:
        pieces = {form[at : at + FRAGMENT] for form in forms(secret) for at in range(len(form) - FRAGMENT + 1)}
        self._pieces = sorted(pieces)
        self._search = BytesAhoCorasick(self._pieces)

    def of(self, where: str, found: object) -> None:
        data = found if isinstance(found, bytes) else str(found).encode()
        hits = self._search.find_matches_as_indexes(data)
        assert not hits, f"{where}: {self._pieces[hits[0][0]]!r}"

    def must_see(self, data: bytes) -> None:
        """That it can find it at all."""
        with pytest.raises(AssertionError):
            self.of("here", data)


@contextlib.contextmanager
def command_lines(leaks: Leaks, *files: str) -> Iterator[None]:
    """Every command line of the host, all the time; and other files of processes, for example `environ`."""
    done, seen = threading.Event(), set[bytes]()

    def look() -> None:
        while not done.wait(0.01):
            for process in Path("/proc").glob("[0-9]*"):
                for file in ("cmdline", *files):
                    with contextlib.suppress(OSError):
                        seen.add((process / file).read_bytes())

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
    assert any(b"preloaded_programs" in line for line in seen), "those of API and worker are among them"
    leaks.of("a command line", b"\n".join(seen))


@contextlib.contextmanager
def redis_commands(url: str, leaks: Leaks) -> Iterator[None]:
    """Every command that Redis is sent: Celery's messages and events, live logs."""
    client, seen, last = Redis.from_url(url), [], f"end-{uuid4()}"

    def listen() -> None:
        for command in monitor.listen():
            seen.append(command["command"])
            if last in seen[-1]:
                return

    with client.monitor() as monitor:
        thread = threading.Thread(target=listen)
        thread.start()
        try:
            yield
        finally:
            client.echo(last)
            thread.join(30)
    assert last in seen[-1]
    for command in seen:
        leaks.of("a command to Redis", command)


def everything_in_redis(url: str) -> Iterator[tuple[str, object]]:
    client = Redis.from_url(url)
    readers: dict[bytes, Any] = {
        b"string": client.get,
        b"list": lambda key: client.lrange(key, 0, -1),
        b"hash": client.hgetall,
        b"set": client.smembers,
        b"zset": lambda key: client.zrange(key, 0, -1),
        b"stream": client.xrange,
    }
    for key in client.scan_iter():
        kind = client.type(key)
        if kind != b"none":
            yield f"Redis {key!r}", b"\n".join(_flat(readers[kind](key))) + key


def _flat(value: Any) -> Iterator[bytes]:
    match value:
        case bytes():
            yield value
        case dict():
            yield from (each for pair in value.items() for part in pair for each in _flat(part))
        case list() | set() | tuple():
            yield from (each for part in value for each in _flat(part))


def everything_in_postgres(relay: Relay) -> Iterator[tuple[str, object]]:
    with relay.database.connect() as connection:
        tables = connection.execute(text("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")).scalars().all()
        for table in tables:
            for row in connection.execute(text(f'SELECT * FROM "{table}"')).mappings():
                for column, value in row.items():
                    if isinstance(value, memoryview | bytes):
                        yield f"{table}.{column}", bytes(value)
                        with contextlib.suppress(zstandard.ZstdError):
                            yield f"{table}.{column}", zstandard.decompress(bytes(value), max_output_size=1 << 26)
                    elif value is not None:
                        yield f"{table}.{column}", value if isinstance(value, str) else json.dumps(value, default=str)


def files_below(*roots: Path, but: Collection[Path] = ()) -> Iterable[tuple[str, object]]:
    for root in roots:
        for folder, folders, names in os.walk(root):
            folders[:] = [name for name in folders if Path(folder, name) not in but]
            for path in (Path(folder, name) for name in names):
                if path.is_file() and not path.is_symlink():
                    with contextlib.suppress(OSError):  # servers live here, too
                        yield str(path), path.read_bytes()
