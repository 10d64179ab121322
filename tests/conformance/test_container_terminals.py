"""Terminals of steps, on the fake and on the real engine alike."""

import fcntl
import os
import struct
import termios

import pytest

from relay_core.domain.errors import Conflict, NotFound, StepFailed
from relay_core.domain.vocabulary import Reason, Stream
from relay_workers.containers.port import TerminalSize
from relay_workers.testing.scripted_step import ScriptedStep
from tests.support.engine_fixtures import Step
from tests.support.waiting import eventually

pytest_plugins = ["tests.support.containers_port"]

READY = ScriptedStep(stdout="ready\n", exit_code=None).script()


def size_of(terminal: int) -> TerminalSize:
    rows, columns, _, _ = struct.unpack("HHHH", fcntl.ioctl(terminal, termios.TIOCGWINSZ, bytes(8)))
    return TerminalSize(columns, rows)


def test_what_is_typed_and_written_is_in_the_log_and_the_size_can_change(engine):
    workspace = engine.workspace()
    step = workspace.start(READY, terminal=TerminalSize(80, 24))
    eventually(lambda: step.log() == b"ready\r\n", "it writes")
    master = engine.containers.pty(workspace.container, step.files.key)
    try:
        assert size_of(master) == TerminalSize(80, 24)
        os.write(master, b"hello\n")
        eventually(lambda: step.log() == b"ready\r\nhello\r\n", "the terminal echoes")
        engine.containers.resize(workspace.container, step.files.key, TerminalSize(132, 50))
        assert size_of(master) == TerminalSize(132, 50)
    finally:
        os.close(master)
    assert workspace.kill(step).remaining == 0
    assert step.wait().drained.stdout.dropped == 0
    assert step.log() == b"ready\r\nhello\r\n"
    assert step.log(Stream.STDERR) == b""


def test_a_step_without_a_terminal_has_none(engine):
    workspace = engine.workspace()
    step = workspace.start(READY)
    key = step.files.key
    for act in (
        lambda: engine.containers.pty(workspace.container, key),
        lambda: engine.containers.resize(workspace.container, key, TerminalSize(80, 24)),
    ):
        with pytest.raises(Conflict) as caught:
            act()
        assert caught.value.code == "no_terminal"
    with pytest.raises(NotFound):
        engine.containers.pty(workspace.container, workspace.prepare(READY).files.key)


def test_a_terminal_is_the_only_standard_input(engine):
    workspace = engine.workspace()
    start = workspace.prepare(READY, stdin=b"more", terminal=TerminalSize(80, 24))
    with pytest.raises(StepFailed) as caught:
        engine.containers.start(workspace.container, start)
    assert caught.value.reason == Reason.START_FAILED
    assert Step(start.files, start.gid).log() == b""
