"""Supervision: a process that dies is started again, and everything ends in the opposite order of its start."""

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import psutil
import pytest

from relay_core.settings import get_settings
from relay_stack.errors import StackProblem
from relay_stack.files.data_dir import open_data_dir, stack_is_up, stack_lock
from relay_stack.files.local_settings import data_dir_of_settings
from relay_stack.files.stack_state import ProcessState
from relay_stack.services.app_service import AppService
from relay_stack.services.keep_alive import ProcessKeeper, StopRequested, stop_on_signals
from relay_stack.services.ports import free_port
from relay_stack.services.process import Program

SLEEPER = (sys.executable, "-c", "import signal; signal.pause()")


@pytest.fixture(autouse=True)
def _own_signals():
    numbers = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
    before = [signal.getsignal(number) for number in numbers]
    yield
    for number, handler in zip(numbers, before, strict=True):
        signal.signal(number, handler)


class Board:
    """Remembers every state shown, and lets a thread wait for one."""

    def __init__(self) -> None:
        self.shown: list[tuple[ProcessState, ...]] = []
        self._changed = threading.Condition()

    def show(self, processes: Sequence[ProcessState]) -> None:
        with self._changed:
            self.shown.append(tuple(processes))
            self._changed.notify_all()

    def wait(self, wanted: Callable[[tuple[ProcessState, ...]], bool]) -> tuple[ProcessState, ...]:
        with self._changed:
            assert self._changed.wait_for(lambda: bool(self.shown) and wanted(self.shown[-1]), timeout=20), self.shown
            return self.shown[-1]


def sleeper(folder: Path, name: str) -> AppService:
    return AppService(Program(name, SLEEPER, folder / f"{name}.log"))


def test_who_is_killed_is_started_again_and_a_stop_ends_all(tmp_path):
    board = Board()
    watch = ProcessKeeper(board.show)
    watch.start("first", sleeper(tmp_path, "first"))
    watch.start("second", sleeper(tmp_path, "second"))
    before = {one.name: one.pid for one in board.shown[-1]}
    stop_on_signals()

    def kill_and_stop() -> None:
        os.kill(before["first"], signal.SIGKILL)
        board.wait(lambda seen: seen[0].state == "restarting")
        board.wait(lambda seen: seen[0].state == "running")
        os.kill(os.getpid(), signal.SIGTERM)

    thread = threading.Thread(target=kill_and_stop)
    thread.start()
    with pytest.raises(StopRequested):
        watch.keep()
    thread.join()
    after = {one.name: one.pid for one in board.shown[-1]}
    assert after["first"] != before["first"]
    assert after["second"] == before["second"]
    watch.stop()
    assert [one.state for one in board.shown[-1]] == ["stopped", "stopped"]
    assert not any(psutil.pid_exists(pid) for pid in after.values())
    first_stopped = next(seen for seen in board.shown if any(one.state == "stopped" for one in seen))
    assert [one.state for one in first_stopped] == ["running", "stopped"]


def test_who_does_not_come_up_is_named_with_the_end_of_its_log(tmp_path):
    program = Program("api", (sys.executable, "-c", "print('no such thing'); exit(3)"), tmp_path / "api.log")
    watch = ProcessKeeper(Board().show)
    with pytest.raises(StackProblem, match=r"api did not start(.|\n)*no such thing"):
        watch.start("api", AppService(program, f"http://127.0.0.1:{free_port()}/"))
    watch.stop()


def test_who_ignores_a_stop_is_killed(tmp_path):
    code = "import signal, pathlib, sys; signal.signal(15, 1); pathlib.Path(sys.argv[1]).touch(); signal.pause()"
    ready = tmp_path / "ready"
    program = Program("deaf", (sys.executable, "-c", code, str(ready)), tmp_path / "deaf.log", stop_seconds=0.2)
    board = Board()
    watch = ProcessKeeper(board.show)
    watch.start("deaf", AppService(program))
    pid = board.shown[-1][0].pid
    deadline = time.monotonic() + 20
    while not ready.exists():
        assert time.monotonic() < deadline
        time.sleep(0.01)
    watch.stop()
    assert not psutil.pid_exists(pid)


def test_one_stack_per_data_directory(tmp_path):
    assert not stack_is_up(tmp_path)
    with stack_lock(tmp_path):
        assert stack_is_up(tmp_path)
        with pytest.raises(StackProblem, match="relay down"), stack_lock(tmp_path):
            pass
    assert not stack_is_up(tmp_path)


def test_a_data_directory_that_cannot_be_used_says_why(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    with pytest.raises(StackProblem, match="RELAY_DATA_DIR=/absolute/path"):
        open_data_dir(tmp_path / "file" / "data")
    full = type("Usage", (), {"free": 1 << 20})
    monkeypatch.setattr("shutil.disk_usage", lambda _path: full)
    with pytest.raises(StackProblem, match=r"0\.0 GiB are free, 2\.0 GiB are needed"):
        open_data_dir(tmp_path)


def test_a_child_gets_a_clean_signal_mask(tmp_path):
    code = "import signal; print(sorted(signal.pthread_sigmask(signal.SIG_BLOCK, [])))"
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])
    try:
        watch = ProcessKeeper(Board().show)
        program = Program("mask", (sys.executable, "-c", code), tmp_path / "mask.log")
        watch.start("mask", AppService(program), wait=False)
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGUSR1])
    child = psutil.Process().children()
    psutil.wait_procs(child, timeout=20)
    watch.stop()
    assert (tmp_path / "mask.log").read_text().splitlines()[1:] == ["[]"]


def test_an_environment_that_cannot_be_used_names_its_variables(monkeypatch):
    monkeypatch.setenv("RELAY_DATA_DIR", "relative")
    monkeypatch.setenv("RELAY_API_PORT", "x")
    get_settings.cache_clear()
    with pytest.raises(
        StackProblem, match=r"RELAY_DATA_DIR: RELAY_DATA_DIR must be an absolute path(.|\n)*RELAY_API_PORT: "
    ):
        data_dir_of_settings()
    get_settings.cache_clear()
