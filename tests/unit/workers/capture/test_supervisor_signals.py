"""Start, exit and death of a supervisor, as its FIFO tells them."""

import os
import time

import pytest

from relay_workers.capture.supervisor_signals import SupervisorSignals


@pytest.fixture
def fifo(tmp_path):
    path = tmp_path / "alive"
    os.mkfifo(path)
    return path


def signals(fifo, *, started=False) -> SupervisorSignals:
    return SupervisorSignals(os.open(fifo, os.O_RDONLY | os.O_NONBLOCK), started=started)


def state(found: SupervisorSignals) -> tuple[bool, bool, bool]:
    return found.started.is_set(), found.exited.is_set(), found.dead.is_set()


def test_a_fifo_without_a_writer_is_no_death_before_the_start(fifo):
    found = signals(fifo)
    assert not found.heard.is_set()
    found.read(hung_up=False)
    assert found.heard.is_set()
    assert state(found) == (False, False, False)
    found.close()


def test_a_fifo_without_a_writer_is_a_death_after_the_start(fifo):
    found = signals(fifo, started=True)
    found.read(hung_up=False)
    assert state(found) == (True, False, True)
    found.close()


def test_start_exit_and_death_are_told_apart(fifo):
    found = signals(fifo)
    writer = os.open(fifo, os.O_WRONLY)
    found.read(hung_up=False)
    assert state(found) == (False, False, False)
    os.write(writer, b"s")
    found.read(hung_up=False)
    assert state(found) == (True, False, False)
    assert found.exited_at is None
    os.write(writer, b"x")
    found.read(hung_up=False)
    assert state(found) == (True, True, False)
    exited_at = found.exited_at
    assert exited_at is not None
    assert exited_at <= time.monotonic()
    os.write(writer, b"x")  # the step can write to it too
    os.close(writer)
    found.read(hung_up=True)
    assert state(found) == (True, True, True)
    assert found.exited_at == exited_at, "the first exit counts"
    found.close()
