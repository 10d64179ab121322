"""The embedded Postgres and Valkey: made, started, kept, and ended with the process that started them."""

import os
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psutil
import psycopg2
import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from relay_stack.machine.account import first_closed_folder
from relay_stack.services.postgres import EmbeddedPostgres, installed_folder
from relay_stack.services.process import Account
from relay_stack.services.valkey import EmbeddedValkey


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that other users can enter (pytest's own are closed), for Postgres under root."""
    folder = Path(tempfile.mkdtemp(prefix="relay-test-"))
    folder.chmod(0o711)
    yield folder
    shutil.rmtree(folder)


def _ask(url: str, query: str) -> object:
    connection = psycopg2.connect(url.replace("+psycopg2", ""))
    try:
        with connection, connection.cursor() as cursor:
            cursor.execute(query)
            return cursor.fetchone()[0] if cursor.description else None
    finally:
        connection.close()


def test_postgres_keeps_its_data_and_url_over_a_restart(open_folder: Path) -> None:
    server = EmbeddedPostgres(open_folder / "postgres", durable=False)
    first = server.start()
    _ask(first, "CREATE TABLE kept AS SELECT 42 AS number")
    server.stop()
    again = EmbeddedPostgres(open_folder / "postgres", durable=False)
    try:
        assert again.start() == first
        assert _ask(first, "SELECT number FROM kept") == 42
    finally:
        again.stop()


def test_postgres_wants_its_password_and_listens_on_no_port(open_folder: Path) -> None:
    server = EmbeddedPostgres(open_folder / "postgres", durable=False)
    url = server.start()
    try:
        assert _ask(url, "SHOW listen_addresses") == ""
        with pytest.raises(psycopg2.OperationalError, match="password authentication failed"):
            psycopg2.connect(host=str(server.socket_folder), user="relay", password="wrong", dbname="relay")
    finally:
        server.stop()


def test_postgres_in_a_folder_with_a_long_name(open_folder: Path) -> None:
    server = EmbeddedPostgres(open_folder / ("x" * 120), durable=False)
    try:
        assert _ask(server.start(), "SELECT 1") == 1
    finally:
        server.stop()
        shutil.rmtree(server.socket_folder)


def test_durability_is_a_choice(open_folder: Path) -> None:
    for durable, word in ((False, "off"), (True, "on")):
        server = EmbeddedPostgres(open_folder / word, durable=durable)
        try:
            assert _ask(server.start(), "SHOW fsync") == word
        finally:
            server.stop()


@pytest.mark.parametrize("durable", [True, False])
def test_valkey_refuses_to_evict_and_wants_its_password(tmp_path: Path, durable: bool) -> None:
    server = EmbeddedValkey(tmp_path / "valkey", durable=durable)
    url = server.start()
    try:
        with redis.Redis.from_url(url) as client:
            assert client.config_get("maxmemory-policy") == {"maxmemory-policy": "noeviction"}
            assert client.config_get("appendonly") == {"appendonly": "yes" if durable else "no"}
            assert client.config_get("bind") == {"bind": "127.0.0.1"}
            port = client.connection_pool.connection_kwargs["port"]
        with redis.Redis(port=port, retry=Retry(NoBackoff(), 0)) as stranger, pytest.raises(redis.AuthenticationError):
            stranger.ping()
    finally:
        server.stop()


def test_valkey_keeps_its_data_over_a_restart(tmp_path: Path) -> None:
    server = EmbeddedValkey(tmp_path / "valkey")
    with redis.Redis.from_url(server.start()) as client:
        client.set("kept", "42")
    server.stop()
    with redis.Redis.from_url(server.start()) as client:
        assert client.get("kept") == b"42"
    server.stop()


STARTER = """
import sys, signal
from pathlib import Path
from relay_stack.services.postgres import EmbeddedPostgres
from relay_stack.services.valkey import EmbeddedValkey
root = Path(sys.argv[1])
EmbeddedPostgres(root / "postgres", durable=False).start()
EmbeddedValkey(root / "valkey").start()
print("started", flush=True)
signal.pause()
"""


def test_both_end_when_whoever_started_them_is_killed(open_folder: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", STARTER, str(open_folder)], stdout=subprocess.PIPE) as starter:
        assert starter.stdout is not None
        assert starter.stdout.readline() == b"started\n"
        servers = psutil.Process(starter.pid).children(recursive=True)
        assert {"postgres", "valkey-server"} <= {server.name() for server in servers}
        os.kill(starter.pid, signal.SIGKILL)
    _, alive = psutil.wait_procs(servers, timeout=20)
    assert alive == []


def test_a_server_left_behind_is_ended_before_a_new_one_starts(open_folder: Path) -> None:
    left_postgres, left_valkey = EmbeddedPostgres(open_folder / "pg", durable=False), EmbeddedValkey(open_folder / "vk")
    left_postgres.start()
    left_valkey.start()
    postgres, valkey = EmbeddedPostgres(open_folder / "pg", durable=False), EmbeddedValkey(open_folder / "vk")
    try:
        assert _ask(postgres.start(), "SELECT 1") == 1
        with redis.Redis.from_url(valkey.start()) as client:
            assert client.ping()
    finally:
        for server in (left_postgres, left_valkey, postgres, valkey):
            server.stop()


def test_a_copy_of_programs_installed_with_a_strict_umask_is_open_to_the_account(open_folder: Path) -> None:
    installed = open_folder / "closed" / "package" / "pginstall"
    (installed / "bin").mkdir(parents=True)
    (installed.parents[1] / "package.libs").mkdir()
    for path, mode in ((installed / "bin" / "postgres", 0o700), (installed / "share", 0o600)):
        path.touch()
        path.chmod(mode)
    for path in (installed.parents[1], installed.parent, installed, installed / "bin"):
        path.chmod(0o700)
    copy = EmbeddedPostgres(open_folder)._copy_of(installed)
    found = {path.name: stat.S_IMODE(path.stat().st_mode) for path in (copy / "bin", *copy.rglob("*"))}
    assert found == {"bin": 0o755, "postgres": 0o755, "share": 0o644}
    assert first_closed_folder(copy / "bin", Account("nobody", 65534, 65534)) is None


def test_programs_copied_from_a_closed_folder_find_their_libraries(open_folder: Path) -> None:
    copy = EmbeddedPostgres(open_folder)._copy_of(installed_folder())
    for program in ("postgres", "initdb"):
        said = subprocess.run([copy / "bin" / program, "--version"], capture_output=True, text=True, check=True).stdout
        assert "18." in said
