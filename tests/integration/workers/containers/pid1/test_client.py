"""The worker's client against a real relay-pid1 in a real container: every verb, every refusal it translates."""

import os
import select
import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from relay_core.domain.errors import InvalidInput, StepFailed
from relay_workers.containers.pid1 import record
from relay_workers.containers.pid1.answers import EndFlag, ExecutionStatus, How, State
from relay_workers.containers.pid1.client import Pid1Client
from relay_workers.containers.pid1.errors import (
    AlreadyStarted,
    DialFailed,
    NotRunning,
    StartForbidden,
    UnknownExecution,
)
from relay_workers.containers.pid1.messages import Key
from relay_workers.containers.pid1.step import Step, StepFiles, TerminalSize
from tests.support.pid1 import Pid1
from tests.support.waiting import eventually

ENV = {"PATH": "/usr/local/bin:/usr/bin:/bin"}
PATIENCE_SECONDS = 30


@dataclass
class Worker:
    """A worker's side of one container."""

    client: Pid1Client
    folder: Path
    events: list[ExecutionStatus] = field(default_factory=list)

    def start(self, script: str | None = None, **changes: Any) -> Key:
        step = Step(Key(uuid4(), 1), 1000, 20001, "/", env=ENV, script=script.encode() if script else None)
        step = replace(step, **changes)
        folder = self.folder / str(step.key.execution_id)
        folder.mkdir(exist_ok=True)
        with ExitStack() as stack:
            files = [record.create(folder / f"record-{step.key.fence}-{uuid4().hex}", step.key)]
            files += [os.open(folder / name, os.O_WRONLY | os.O_CREAT, 0o600) for name in ("stdout", "stderr")]
            for fd in files:
                stack.callback(os.close, fd)
            assert self.client.start(step, StepFiles(*files[: 2 if step.terminal else 3])) > 1
        return step.key

    def event(self, key: Key, state: State) -> ExecutionStatus:
        while True:
            for event in self.events:
                if (event.key, event.state) == (key, state):
                    return event
            event = self.client.next_event(seconds=PATIENCE_SECONDS)
            assert event is not None
            self.events.append(event)

    def output(self, key: Key, name: str = "stdout") -> bytes:
        return (self.folder / str(key.execution_id) / name).read_bytes()

    def record(self, key: Key) -> Path:
        return next((self.folder / str(key.execution_id)).glob("record-*"))


@pytest.fixture
def worker(pid1: Pid1, tmp_path: Path) -> Iterator[Worker]:
    client = Pid1Client(pid1.socket_path, pid1.init)
    yield Worker(client, tmp_path)
    client.close()


def test_start_events_and_record(worker: Worker) -> None:
    key = worker.start("cat; echo $A >&2; exit 3", stdin=b"prompt\n", env={**ENV, "A": "b=c d"})
    ended, drained = worker.event(key, State.ENDED), worker.event(key, State.DRAINED)
    assert (ended.how, ended.value, ended.flags & EndFlag.KILL_ASKED) == (How.EXITED, 3, 0)
    assert (drained.stdout.copied, drained.stderr.copied, drained.stdout.dropped) == (7, 6, 0)
    assert (worker.output(key), worker.output(key, "stderr")) == (b"prompt\n", b"b=c d\n")
    eventually(lambda: not record.is_held(worker.record(key)), "the end of the record's lock")
    kept = record.read(worker.record(key))
    assert kept.started is not None
    assert kept.ended is not None
    assert kept.drained is not None
    assert (kept.key, kept.started.pid, kept.ended.how, kept.ended.value) == (key, ended.pid, How.EXITED, 3)
    assert kept.drained.stdout.copied == 7


def test_another_worker_adopts_what_runs(pid1: Pid1, worker: Worker, tmp_path: Path) -> None:
    key = worker.start("echo up; trap 'exit 4' TERM; while :; do sleep 0.05; done")
    eventually(lambda: worker.output(key))
    worker.client.close()
    next_client = Pid1Client(pid1.socket_path, pid1.init)
    try:
        adopted = Worker(next_client, tmp_path)
        assert next_client.status(key, watch=True).state is State.RUNNING
        assert record.is_held(worker.record(key))
        assert next_client.signal(key, signal.SIGTERM, whole_execution=True) >= 1
        assert adopted.event(key, State.DRAINED).value == 4
        assert next_client.status(key).state is State.DRAINED
    finally:
        next_client.close()


def test_kill_and_leftovers(worker: Worker) -> None:
    key = worker.start("trap '' TERM; (setsid sleep 1000 &); echo up; while :; do sleep 0.05; done")
    eventually(lambda: worker.output(key))
    eventually(lambda: "sleep" in {each.name for each in worker.client.leftovers(key).listed})
    began = time.monotonic()
    killed = worker.client.kill(key, grace_seconds=0.2, seconds=PATIENCE_SECONDS)
    assert time.monotonic() - began >= 0.2
    assert killed.kills >= 1
    assert worker.event(key, State.DRAINED).flags & (EndFlag.KILL_ASKED | EndFlag.KILL_SENT)
    assert worker.client.leftovers(key).count == 0
    worker.client.kill(key, grace_seconds=0, seconds=PATIENCE_SECONDS)
    with pytest.raises(NotRunning):
        worker.client.signal(key, signal.SIGTERM)


def test_a_start_happens_once_or_never(worker: Worker) -> None:
    key = worker.start("exit 0")
    with pytest.raises(AlreadyStarted):
        worker.start("exit 0", key=key)
    with pytest.raises(AlreadyStarted):
        worker.client.forbid(key)
    never = Key(uuid4(), 2)
    with pytest.raises(UnknownExecution):
        worker.client.status(never)
    worker.client.forbid(never)
    with pytest.raises(StartForbidden):
        worker.start("exit 0", key=never)
    assert worker.client.status(never).state is State.FORBIDDEN


def test_starts_that_fail_say_why(worker: Worker) -> None:
    with pytest.raises(StepFailed, match="executing its program: No such file"):
        worker.start(argv=["no-such-program"])
    with pytest.raises(StepFailed, match="entering its working directory: No such file"):
        worker.start(argv=["true"], cwd="/nowhere")
    with pytest.raises(InvalidInput, match="reserved"):
        worker.start(argv=["true"], uid=2147000001)


def test_a_deadline(worker: Worker) -> None:
    key = worker.start("sleep 1000", deadline_seconds=0.1)
    ended = worker.event(key, State.ENDED)
    assert (ended.how, ended.value) == (How.SIGNALLED, signal.SIGTERM)
    assert ended.flags & EndFlag.DEADLINE_PASSED


def test_a_terminal(worker: Worker) -> None:
    script = "stty size; trap 'stty size; exit 5' WINCH; read line; echo got $line; while :; do sleep 0.05; done"
    key = worker.start(script, terminal=TerminalSize(80, 24))
    master = worker.client.pty(key)
    try:
        os.set_blocking(master, True)
        eventually(lambda: worker.output(key) == b"24 80\r\n")  # the terminal echoes what is written before that, too
        os.write(master, b"hello\n")
        eventually(lambda: b"got hello" in worker.output(key))
        worker.client.resize(key, TerminalSize(132, 50))
        assert worker.event(key, State.DRAINED).value == 5
    finally:
        os.close(master)
    assert worker.output(key) == b"24 80\r\nhello\r\ngot hello\r\n50 132\r\n"
    plain = worker.start("sleep 1000")
    with pytest.raises(NotRunning, match="no terminal"):
        worker.client.pty(plain)
    worker.client.kill(plain, grace_seconds=0, seconds=PATIENCE_SECONDS)


def test_dial(worker: Worker) -> None:
    with pytest.raises(DialFailed):
        worker.client.dial(4711)
    serve = "import socket; s = socket.create_server(('127.0.0.1', 4711)); print('up', flush=True); s.accept()[0].send(b'hi')"
    key = worker.start(argv=["python3", "-c", serve])
    eventually(lambda: worker.output(key))
    with worker.client.dial(4711) as dialled:
        assert select.select([dialled], [], [], PATIENCE_SECONDS)[0]
        assert dialled.recv(10) == b"hi"
    assert worker.event(key, State.DRAINED).value == 0
