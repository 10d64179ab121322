"""Programs of the local stack as values, and functions that start and end their processes."""

import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO

import psutil

DIE_WITH_PARENT = Path(__file__).with_name("die_with_parent.py")
START_MARK = "=== "
"""Begins the line that `spawn` writes into the log; the lines after it belong to that start."""
LOG_KEEP_BYTES = 8 << 20
"""A longer log is renamed to `NAME.1` before the next start, in place of an earlier `NAME.1`."""


@dataclass(frozen=True)
class Account:
    """A user of the machine that a program runs as."""

    name: str
    uid: int
    gid: int


@dataclass(frozen=True)
class Program:
    """How to run one process of the stack."""

    name: str
    argv: tuple[str, ...]
    log_file: Path
    """File that gets standard output and standard error."""
    env: Mapping[str, str] = field(default_factory=lambda: dict(os.environ))
    account: Account | None = None
    """Account of the process; None: the present user."""
    stop_signal: signal.Signals = signal.SIGTERM
    """Signal that asks for an orderly end; the kernel sends it, too, when the supervisor dies."""
    stop_seconds: float = 10
    """Time for the orderly end; then SIGKILL follows."""


def die_with_caller(command: Sequence[str], death_signal: signal.Signals, account: Account | None = None) -> list[str]:
    """The command line that runs `command` and lets the kernel signal it when the calling *thread* ends (prctl(2)).

    Args:
        command: program and arguments.
        death_signal: the signal.
        account: account that the program runs as; None: the present user.
    """
    user = "-" if account is None else f"{account.uid}:{account.gid}"
    guard = (sys.executable, "-I", "-S", str(DIE_WITH_PARENT), str(os.getpid()), str(int(death_signal)), user)
    return [*guard, *command]


def spawn(program: Program) -> subprocess.Popen[bytes]:
    """Start a program in a session of its own; the kernel ends it when the calling *thread* ends.

    Raises:
        OSError: the Python interpreter or the log file cannot be opened.
    """
    with _open_log(program) as log:
        return subprocess.Popen(
            die_with_caller(program.argv, program.stop_signal, program.account),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            env=dict(program.env),
            cwd="/",
            start_new_session=True,
        )


def _open_log(program: Program) -> BinaryIO:
    path = program.log_file
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.exists() and path.stat().st_size > LOG_KEEP_BYTES:
        path.replace(path.with_name(path.name + ".1"))
    log = os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "ab")
    log.write(f"{START_MARK}{program.name} starts at {datetime.now(UTC):%Y-%m-%d %H:%M:%S} UTC\n".encode())
    log.flush()
    return log


def stop(process: subprocess.Popen[bytes], program: Program) -> None:
    """End a child process: signal it, wait `stop_seconds`, then kill it. One that has ended is left."""
    if process.poll() is None:
        process.send_signal(program.stop_signal)
    try:
        process.wait(program.stop_seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def end_leftover(pid: int, program: Program) -> None:
    """End a process that an earlier supervisor left behind; returns at once where it has ended.

    The caller has checked that `pid` belongs to the program.
    """
    try:
        leftover = psutil.Process(pid)
        leftover.send_signal(program.stop_signal)
        leftover.wait(program.stop_seconds)
    except psutil.TimeoutExpired:
        leftover.kill()
        leftover.wait()
    except psutil.NoSuchProcess:
        return


def last_lines(path: Path, count: int = 15) -> str:
    """The last lines of a log, since the last start only; empty where there is no log."""
    try:
        with path.open("rb") as log:
            log.seek(max(0, path.stat().st_size - 16_384))
            latest = log.read().decode("utf-8", "replace").rpartition(START_MARK)[2]
            return "\n".join(latest.splitlines()[-count:])
    except FileNotFoundError:
        return ""
