"""Executions that own logs, and files of runs whose relay-pid1 is the test."""

import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from uuid import UUID, uuid4

from sqlalchemy import create_engine, text
from sqlalchemy.engine import make_url
from sqlalchemy.pool import NullPool

from relay_core.domain.agents.executors import ExecutorChoice
from relay_core.domain.errors import Stale
from relay_core.domain.limits import Limits
from relay_core.domain.vocabulary import Scope, Stream
from relay_core.live_log.publisher import LiveLogPublisher
from relay_core.settings import Settings
from relay_core.store.executions.claim import Claimant, Claimed, claim
from relay_core.store.logs import log_store
from relay_core.store.logs.log_store import Append, LogStore, StoredAppend
from relay_core.store.nodes import runtime_nodes
from relay_core.store.tokens import Principal
from relay_core.store.transaction import Database
from relay_core.store.workspaces.submit import RepoInput, RunInput, submit_run
from relay_workers.capture.pump import CaptureHandle, CaptureRequest, LogPump
from relay_workers.containers.pid1.answers import How
from relay_workers.containers.run_files import RunFiles
from relay_workers.host_files.safe_dir import OpenFile
from relay_workers.testing.fake_record import FakeRecord

EXECUTOR = ExecutorChoice("shell", "true")
WAIT_SECONDS = 20


@dataclass(frozen=True)
class Owned:
    """A running execution with open streams."""

    id: UUID
    fence: int


def running_execution(database: Database) -> Owned:
    with database.begin() as connection:
        runtime_nodes.heartbeat(connection, "node-1", pool="default", client_version="0", capabilities={})
        run = RunInput((RepoInput("https://example.org/a.git"),), "do it", EXECUTOR, Limits())
        submitted = submit_run(connection, run, Principal("someone", frozenset({Scope.WRITE})), Settings())
    with database.begin() as connection:
        claimed = claim(connection, submitted.execution_id, 1, Claimant("w", "node-1", "default", 30))
    assert isinstance(claimed, Claimed)
    return Owned(claimed.execution_id, claimed.fence)


def taken_over(database: Database, owned: Owned) -> Owned:
    """The same execution after a new claim of its log."""
    with database.begin() as connection:
        log_store.open_streams(connection, owned.id, owned.fence + 1)
    return Owned(owned.id, owned.fence + 1)


def append_one(store: LogStore, append: Append) -> StoredAppend:
    """Store one append.

    Raises:
        Stale: another worker owns the execution or wrote to its log.
    """
    result = store.append([append])
    if result.refused:
        raise Stale(f"this worker does not own execution {append.execution_id} any more")
    return result.stored[-1]


def close_log(database: Database, owned: Owned, sha256: str = "0" * 64) -> None:
    ends = {name: log_store.StreamEnd(info.bytes, sha256) for name, info in LogStore(database).sizes(owned.id).items()}
    with database.begin() as connection:
        log_store.close(connection, owned.id, owned.fence, ends)


def cut_connections(database: Database, database_url: str) -> None:
    """End every session of the test's database."""
    admin = create_engine(make_url(database_url).set(database="postgres"), poolclass=NullPool)
    with admin.connect() as connection:
        connection.execute(
            text("SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = :name"),
            {"name": database.engine.url.database},
        )


class Run:
    """The files of a run; the test is its relay-pid1."""

    def __init__(self, data_dir: Path) -> None:
        self._run_files = RunFiles(data_dir, uuid4(), 1)
        self._run_files.create()
        self.folder = self._run_files.directory
        self.files = {stream: (self.folder / stream).open("ab", buffering=0) for stream in ("stdout", "stderr")}
        self._record: FakeRecord | None = None

    def open_log(self, stream: Stream) -> OpenFile:
        return self._run_files.open_log(stream)

    def open_record(self) -> int:
        return self._run_files.open_record()

    def write(self, stream: str, data: bytes) -> None:
        self.files[stream].write(data)

    def raw(self, stream: str) -> bytes:
        return (self.folder / stream).read_bytes()

    def take(self) -> None:
        """Hold the record, as relay-pid1 does before the start."""
        self._record = FakeRecord(self._run_files)

    def begin(self) -> None:
        self.take()
        self._held.start()

    def exit(self) -> None:
        self._held.end(How.EXITED, 0)

    def die(self) -> None:
        """The container ends."""
        for file in self.files.values():
            file.close()
        if self._record is not None:
            self._record.close()

    def end(self) -> None:
        self.exit()
        self._held.drain()
        self.die()

    @property
    def _held(self) -> FakeRecord:
        assert self._record is not None
        return self._record


@dataclass
class Bench:
    """One worker's pump over real services."""

    database: Database
    settings: Settings
    folder: Path
    publisher: LiveLogPublisher = field(init=False)
    pump: LogPump = field(init=False)

    def __post_init__(self) -> None:
        self.store = LogStore(self.database)
        self.runs: list[Run] = []
        self.publisher = LiveLogPublisher(self.settings)
        self.pump = self._new_pump()

    def _new_pump(self) -> LogPump:
        pump = LogPump(self.store, self.publisher)
        pump.start()
        return pump

    def new_worker(self) -> None:
        """Throw the pump away as it is, and start another."""
        self.pump.stop()
        self.pump = self._new_pump()

    def run(self) -> Run:
        self.runs.append(Run(self.folder))
        return self.runs[-1]

    def attach(self, owned: Owned, run: Run, secrets: Sequence[bytes] = (), **more) -> CaptureHandle:
        more.setdefault("log_bytes", 1 << 40)
        request = CaptureRequest(
            execution_id=owned.id, fence=owned.fence, files=run, secrets=secrets, wake=threading.Event(), **more
        )
        return self.pump.attach(request)

    def stored(self, owned: Owned, stream: str) -> bytes:
        return self.store.read(owned.id, stream, 0, 1 << 40)

    def sizes(self, owned: Owned) -> dict[str, int]:
        return {name: info.bytes for name, info in self.store.sizes(owned.id).items()}

    def close(self) -> None:
        for run in self.runs:
            run.die()
        self.pump.stop()
        self.publisher.close()
