"""Start, exit and end of a step, as its record and the lock on it tell them."""

import os
import time
from types import SimpleNamespace
from uuid import uuid4

import pytest

from relay_workers.capture import step_signals
from relay_workers.capture.step_signals import StepSignals
from relay_workers.containers.pid1.answers import How
from relay_workers.containers.pid1.messages import MalformedMessage
from relay_workers.containers.pid1.record import decode
from relay_workers.containers.run_files import RunFiles
from relay_workers.testing.fake_record import FakeRecord


@pytest.fixture
def files(tmp_path):
    files = RunFiles(tmp_path, uuid4(), 1)
    files.create()
    return files


def signals(files, *, started=False) -> StepSignals:
    return StepSignals(files.open_record(), started=started)


def state(found: StepSignals) -> tuple[bool, bool, bool]:
    return found.started.is_set(), found.exited.is_set(), found.dead.is_set()


def test_a_record_that_is_not_held_is_no_end_before_the_start(files):
    found = signals(files)
    assert not found.heard.is_set()
    assert found.read()
    assert found.heard.is_set()
    assert state(found) == (False, False, False)
    found.close()


def test_a_record_that_is_not_held_is_the_end_after_the_start(files):
    found = signals(files, started=True)
    assert found.read()
    assert state(found) == (True, False, True)
    found.close()


def test_a_start_during_a_read_is_no_end(files, monkeypatch):
    """The record is free when the read begins, and has a start, and a holder, when it is read."""
    found, records = signals(files), []

    def pread(*arguments: int) -> bytes:
        if not records:
            records.append(FakeRecord(files))
            records[0].start()
        return os.pread(*arguments)

    monkeypatch.setattr("relay_workers.capture.step_signals.os", SimpleNamespace(pread=pread, close=os.close))
    assert found.read()
    assert state(found) == (True, False, False)
    records[0].close()
    assert found.read()
    assert state(found) == (True, False, True)
    found.close()


def test_the_end_of_the_container_right_after_the_start_is_seen_at_once(files):
    found, record = signals(files), FakeRecord(files)
    record.start()
    record.close()
    assert found.read()
    assert state(found) == (True, False, True)
    found.close()


def test_start_exit_and_end_are_told_apart(files):
    found, record = signals(files), FakeRecord(files)
    found.read()
    assert not found.read(), "nothing new"
    assert state(found) == (False, False, False)
    record.start()
    assert found.read()
    assert state(found) == (True, False, False)
    assert found.exited_at is None
    record.end(How.EXITED, 3)
    assert found.read()
    assert state(found) == (True, True, False)
    exited_at = found.exited_at
    assert exited_at is not None
    assert exited_at <= time.monotonic()
    record.drain()
    assert found.read()
    assert state(found) == (True, True, True)
    assert found.exited_at == exited_at
    found.close()


def test_the_end_of_the_container_is_told_by_the_lock_alone(files):
    found, record = signals(files), FakeRecord(files)
    record.start()
    found.read()
    record.close()
    assert found.read()
    assert state(found) == (True, False, True)
    found.close()


def test_a_damaged_record_is_no_record(files):
    (files.directory / "record").write_bytes(b"x" * 512)
    found = signals(files)
    with pytest.raises(MalformedMessage):
        found.read()
    found.close()


def test_a_record_that_has_not_changed_is_not_decoded_again_and_the_lock_still_tells_of_the_end(files, monkeypatch):
    found, record = signals(files), FakeRecord(files)
    record.start()
    assert found.read()
    decoded = []
    monkeypatch.setattr(step_signals, "decode", lambda data: decoded.append(data) or decode(data))
    assert not found.read()
    assert decoded == []
    record.close()
    assert found.read()
    assert state(found) == (True, False, True)
    assert len(decoded) == 1
    found.close()
