"""Programs of the local stack as values, and the few verbs that start and end them."""

import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO

import psutil

TETHER = Path(__file__).with_name("die_with_parent.py")
START_MARK = "=== "
"""Begins a line of ours in a log: what follows belongs to the start it names."""
LOG_KEEP_BYTES = 8 << 20
"""A log longer than this is moved aside (`.1`) before the next start; one old one is kept."""


@dataclass(frozen=True)
class Account:
    """A user that a program runs as."""

    name: str
    uid: int
    gid: int


@dataclass(frozen=True)
class Program:
    """How to run one process of the stack."""

    name: str
    argv: tuple[str, ...]
    log_file: Path
    """Receives both output streams."""
    env: Mapping[str, str] = field(default_factory=lambda: dict(os.environ))
    account: Account | None = None
    """None: the present user."""
    stop_signal: signal.Signals = signal.SIGTERM
    """Asks for an orderly end; also sent by the kernel when the supervisor dies."""
    stop_seconds: float = 10
    """Time for the orderly end; then SIGKILL."""


def spawn(program: Program) -> subprocess.Popen[bytes]:
    """Starts a program in a session of its own; it ends when the calling *thread* does (prctl(2)).

    Raises:
        OSError: the interpreter or the log file cannot be opened.
    """
    account = "-" if program.account is None else f"{program.account.uid}:{program.account.gid}"
    tether = (sys.executable, "-I", "-S", str(TETHER), str(os.getpid()), str(int(program.stop_signal)), account)
    with _open_log(program) as log:
        return subprocess.Popen(
            (*tether, *program.argv),
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
    """Asks a child to end, waits `stop_seconds`, then kills it. A dead one is fine."""
    if process.poll() is None:
        process.send_signal(program.stop_signal)
    try:
        process.wait(program.stop_seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def end_leftover(pid: int, program: Program) -> None:
    """Ends a process of ours that an earlier supervisor left behind; one that is gone is fine.

    The caller has made sure that `pid` is ours.
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
    """The end of a log, not further back than the last start; empty where there is none."""
    try:
        with path.open("rb") as log:
            log.seek(max(0, path.stat().st_size - 16_384))
            latest = log.read().decode("utf-8", "replace").rpartition(START_MARK)[2]
            return "\n".join(latest.splitlines()[-count:])
    except FileNotFoundError:
        return ""
