"""Descriptions of the local stack's programs, and functions that start and stop their processes."""

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
"""Beginning of the line that `spawn` writes to the log; the lines after it belong to that start of the program."""
LOG_KEEP_BYTES = 8 << 20
"""Before a start, a log longer than this is renamed to `NAME.1`, which replaces an earlier `NAME.1`."""


@dataclass(frozen=True)
class Account:
    """A user account of the machine, as which a program runs."""

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
    """Account that the process runs as; None for the current user."""
    stop_signal: signal.Signals = signal.SIGTERM
    """Signal that asks the process to stop. The kernel also sends it when the supervisor dies."""
    stop_seconds: float = 10
    """Seconds after the signal until the process gets SIGKILL."""


def die_with_caller(command: Sequence[str], death_signal: signal.Signals, account: Account | None = None) -> list[str]:
    """Return a command line that runs `command` and makes the kernel signal it when the calling *thread* ends.

    The kernel's mechanism is prctl(2), used by `die_with_parent.py`.

    Args:
        command: program and arguments.
        death_signal: the signal that the kernel sends.
        account: account that the program runs as; None for the current user.
    """
    user = "-" if account is None else f"{account.uid}:{account.gid}"
    guard = (sys.executable, "-I", "-S", str(DIE_WITH_PARENT), str(os.getpid()), str(int(death_signal)), user)
    return [*guard, *command]


def spawn(program: Program) -> subprocess.Popen[bytes]:
    """Start a program in its own session. The kernel sends it `stop_signal` when the calling *thread* ends.

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
    """Stop a child process: send `stop_signal`, wait up to `stop_seconds`, then kill it. Do nothing if it has ended."""
    if process.poll() is None:
        process.send_signal(program.stop_signal)
    try:
        process.wait(program.stop_seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def end_leftover(pid: int, program: Program) -> None:
    """Stop a process that an earlier supervisor left behind; do nothing if the process has ended.

    The caller must have checked that `pid` belongs to the program.
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
    """Return the last lines of a log that belong to the program's last start; empty if there is no log."""
    try:
        with path.open("rb") as log:
            log.seek(max(0, path.stat().st_size - 16_384))
            latest = log.read().decode("utf-8", "replace").rpartition(START_MARK)[2]
            return "\n".join(latest.splitlines()[-count:])
    except FileNotFoundError:
        return ""
