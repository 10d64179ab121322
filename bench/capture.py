"""Measure the capture of logs without containers: `python -m bench.capture [--mib 512]`.

Log bytes go from a file through the log pump to Postgres and Redis, and from there to a reader. The bench prints the
throughput into Postgres and that of a plain copy of the same bytes, the latency of a line while 100 executions write,
and the cost of 500 idle executions. Postgres is durable (fsync on), Valkey is a real server, and the reader is a
separate process.
"""

import argparse
import asyncio
import multiprocessing
import os
import shutil
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import UUID, uuid4

import psutil
from sqlalchemy import Engine, text

from relay_core.live_log.follower import LiveLogFollower
from relay_core.live_log.publisher import LiveLogPublisher
from relay_core.settings import Settings
from relay_core.store.database import make_database
from relay_core.store.logs.log_store import LogStore
from relay_core.store.schema.migrate import upgrade
from relay_stack.services.postgres import EmbeddedPostgres
from relay_stack.services.valkey import EmbeddedValkey
from relay_workers.capture.pump import CaptureHandle, CaptureRequest, LogPump
from relay_workers.containers.pid1.answers import How
from relay_workers.containers.run_files import RunFiles
from relay_workers.testing.fake_record import FakeRecord

MIB = 1 << 20
SECRETS = [b"sk-0123456789abcdef0123456789", b"password-of-the-database", b"ghp_ABCDEFGHIJKLMNOPQRST"]


class Run:
    """The files of an execution. This program plays relay-pid1, which normally writes them."""

    def __init__(self, data_dir: Path) -> None:
        self.run_files = RunFiles(data_dir, uuid4(), 1)
        self.run_files.create()
        self.folder = self.run_files.directory
        self.record = FakeRecord(self.run_files)
        self.record.start()

    def end(self) -> None:
        """Record that the process has ended and that nothing more is written."""
        self.record.end(How.EXITED, 0)
        self.record.drain()


@contextmanager
def services(folder: Path) -> Iterator[Settings]:
    postgres, valkey = EmbeddedPostgres(folder / "postgres"), EmbeddedValkey(folder / "valkey")
    settings = Settings(database_url=postgres.start(), redis_url=valkey.start())
    upgrade(settings.database_url)
    try:
        yield settings
    finally:
        valkey.stop()
        postgres.stop()


def executions(database: Engine, count: int) -> list[UUID]:
    """Insert rows of running executions and return their ids. Their workspaces do not exist; foreign keys are off."""
    ids = [uuid4() for _ in range(count)]
    with database.begin() as connection:
        connection.execute(text("SET LOCAL session_replication_role = replica"))
        connection.execute(
            text(
                "INSERT INTO execution_processes (id, session_id, workspace_id, run_reason, executor_action, "
                "task_id, created_by, group_id, status, started_at, owner, fence) "
                "SELECT id, id, id, 'dev_server', '{}', id, 'b', id, 'running', now(), 'b', 1 "
                "FROM unnest(CAST(:ids AS uuid[])) AS id"
            ),
            {"ids": [str(execution_id) for execution_id in ids]},
        )
        connection.execute(
            text(
                "INSERT INTO log_streams (execution_id, stream, fence) SELECT id, stream, 1 "
                "FROM unnest(CAST(:ids AS uuid[])) AS id, unnest(ARRAY['stdout', 'stderr', 'all']) AS stream"
            ),
            {"ids": [str(execution_id) for execution_id in ids]},
        )
    return ids


def attach(pump: LogPump, execution_id: UUID, run: Run) -> CaptureHandle:
    return pump.attach(CaptureRequest(execution_id, 1, run.run_files, SECRETS, 1 << 40, threading.Event()))


def log_like(size: int) -> bytes:
    lines, length, number = [], 0, 0
    while length < size:
        lines.append(
            b"2026-01-01T00:00:%02d INFO request %s took %d ms\n" % (number % 60, os.urandom(8).hex().encode(), number)
        )
        length += len(lines[-1])
        number += 1
    return b"".join(lines)[:size]


def throughput(folder: Path, database: Engine, pump: LogPump, mib: int) -> None:
    memory = psutil.Process()
    kinds = {"log lines": log_like(16 * MIB), "random bytes": os.urandom(16 * MIB)}
    for kind, block in kinds.items():
        source = folder / "source"
        with source.open("wb") as file:
            for _ in range(mib // 16):
                file.write(block)
        began = time.monotonic()
        subprocess.run(("sh", "-c", 'cat "$1" >"$2"', "sh", source, folder / "copy"), check=True)
        plain = mib / (time.monotonic() - began)
        (folder / "copy").unlink()
        run = Run(folder)
        capture = attach(pump, executions(database, 1)[0], run)
        rss = memory.memory_info().rss
        began = time.monotonic()
        subprocess.run(("sh", "-c", 'cat "$1" >>"$2"', "sh", source, run.folder / "stdout"), check=True)
        run.end()
        end = capture.finish(60)
        rate = mib / (time.monotonic() - began)
        assert end.streams["stdout"].bytes == mib * MIB
        grown = (memory.memory_info().rss - rss) / MIB
        print(f"{kind:>14}: {rate:6.0f} MiB/s durable, {plain:6.0f} MiB/s by cat to a file, {grown:+.0f} MiB of memory")
        pump.detach(capture)
        source.unlink()
        shutil.rmtree(run.folder)


def reader(settings: Settings, ids: list[UUID], lines: int, answer: "multiprocessing.Queue[list[float]]") -> None:
    async def follow(live: LiveLogFollower, execution_id: UUID) -> list[float]:
        delays: list[float] = []
        rest = b""
        async for piece in live.follow(execution_id, "stdout", 0):
            now = time.monotonic()
            *whole, rest = (rest + piece.data).split(b"\n")
            delays += [now - float(line) for line in whole]
            if len(delays) >= lines:
                return delays
        return delays

    async def body() -> list[float]:
        live = LiveLogFollower(settings, LogStore(make_database(settings)))
        found = await asyncio.gather(*(follow(live, execution_id) for execution_id in ids))
        await live.close()
        return [delay for delays in found for delay in delays]

    answer.put(asyncio.run(body()))


def latency(folder: Path, settings: Settings, database: Engine, pump: LogPump, lines: int) -> None:
    ids = executions(database, 100)
    runs = [Run(folder) for _ in range(100)]
    captures = [attach(pump, execution_id, run) for execution_id, run in zip(ids, runs, strict=True)]
    context = multiprocessing.get_context("spawn")
    answer = context.Queue()
    process = context.Process(target=reader, args=(settings, ids, lines, answer))
    process.start()
    time.sleep(3)
    files = [(run.folder / "stdout").open("ab", buffering=0) for run in runs]
    for _ in range(lines):
        for file in files:
            file.write(b"%.6f\n" % time.monotonic())
            time.sleep(0.002)
    delays = sorted(answer.get(timeout=60))
    process.join()
    p50, p99 = delays[len(delays) // 2], delays[len(delays) * 99 // 100]
    print(f"100 live executions, 500 lines/s: p50 {p50 * 1000:.1f} ms, p99 {p99 * 1000:.1f} ms, {len(delays)} lines")
    for capture in captures:
        pump.detach(capture)


def idle(folder: Path, database: Engine, pump: LogPump) -> None:
    runs = [Run(folder) for _ in range(500)]
    for run, execution_id in zip(runs, executions(database, 500), strict=True):
        attach(pump, execution_id, run)
    time.sleep(2)
    process = psutil.Process()
    process.cpu_percent()
    time.sleep(10)
    cpu, memory = process.cpu_percent(), process.memory_info().rss / MIB
    print(f"500 idle executions: {cpu:.1f} % of a core, {memory:.0f} MiB of memory")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mib", type=int, default=512)
    parser.add_argument("--lines", type=int, default=50)
    arguments = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="relay-bench-"))
    folder.chmod(0o755)
    try:
        with services(folder) as settings:
            database = make_database(settings)
            publisher = LiveLogPublisher(settings)
            pump = LogPump(LogStore(database), publisher)
            pump.start()
            throughput(folder, database, pump, arguments.mib)
            latency(folder, settings, database, pump, arguments.lines)
            idle(folder, database, pump)
            pump.stop()
            publisher.close()
            database.dispose()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
