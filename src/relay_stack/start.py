"""`relay up`: makes the machine ready, starts the supervisor and waits until everything answers."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

from relay_core.console.output import note
from relay_stack.errors import StackProblem
from relay_stack.files.data_dir import open_data_dir, stack_is_up
from relay_stack.files.stack_state import StackState, read_state
from relay_stack.images.own_images import OwnImages, ensure_images
from relay_stack.machine.account import postgres_account
from relay_stack.machine.consent import Consent
from relay_stack.machine.container_engine import Engine
from relay_stack.machine.engine_start import ensure_engine
from relay_stack.services.process import TETHER, last_lines

STOP_SECONDS = 120
"""The sum of what the processes may take to end in an orderly way."""


@dataclass(frozen=True)
class RunningStack:
    """A stack that answers."""

    state: StackState
    supervisor: psutil.Process


@dataclass(frozen=True)
class Machine:
    """What a stack runs on."""

    engine: Engine
    images: OwnImages


def prepare_machine(data_dir: Path, consent: Consent, *, common_names: bool = False) -> Machine:
    """Data directory, account, engine and images: all that may change the machine, ask, or take minutes.

    Args:
        data_dir: where it keeps everything.
        consent: to change the machine.
        common_names: see `ensure_images`.

    Raises:
        StackProblem: something is missing that cannot be had; with what to do.
    """
    os.umask(
        0o022
    )  # whatever the caller's: Postgres' account passes the data directory, an image's users read its files
    open_data_dir(data_dir)
    if not os.environ.get("RELAY_DATABASE_URL"):
        postgres_account()
    engine = ensure_engine(data_dir, consent)
    client = engine.client()
    try:
        images = ensure_images(client, data_dir, consent, common_names=common_names)
    finally:
        client.close()
    return Machine(engine, images)


def start_stack(data_dir: Path, machine: Machine, *, tied: bool) -> RunningStack:
    """Starts the supervisor and returns when all processes are ready.

    Args:
        data_dir: where it keeps everything.
        machine: what runs its containers, and their images.
        tied: the stack ends when the calling process does, however that comes; else it goes on.

    Raises:
        StackProblem: it does not come up; nothing is left running.
    """
    if stack_is_up(data_dir):
        raise StackProblem(
            f"A Relay stack runs on {data_dir} already. See it with `relay status`, end it with `relay down`."
        )
    log_file = data_dir / "logs" / "supervisor.log"
    log_file.parent.mkdir(exist_ok=True)
    reading, writing = os.pipe()
    with log_file.open("ab") as log, os.fdopen(reading) as announcements:
        words = (sys.executable, "-m", "relay_stack", "supervise", str(data_dir), machine.engine.host, str(writing))
        tether = (sys.executable, "-I", "-S", str(TETHER), str(os.getpid()), "15", "-") if tied else ()
        process = subprocess.Popen(
            (*tether, *words),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            pass_fds=(writing,),
            env={**os.environ, **machine.images.environment(os.environ)},
            start_new_session=True,
        )
        os.close(writing)
        supervisor = psutil.Process(process.pid)
        with _ended_on_interrupt(supervisor):
            _follow_start(announcements, log_file)
    state = read_state(data_dir)
    if state is None:
        raise StackProblem(f"The stack ended as it started. The end of {log_file}:\n{last_lines(log_file)}")
    return RunningStack(state, supervisor)


def stop_supervisor(supervisor: psutil.Process) -> None:
    """Asks the supervisor to end everything and waits until it has."""
    try:
        supervisor.terminate()
        supervisor.wait(STOP_SECONDS)
    except psutil.NoSuchProcess:
        return
    except psutil.TimeoutExpired:
        supervisor.kill()  # its children end with it
        supervisor.wait()


def hold(stack: RunningStack, on_interrupt: Callable[[], None]) -> bool:
    """Stays until the stack ends; Ctrl-C calls `on_interrupt` and ends it. False when it ended of itself."""
    try:
        stack.supervisor.wait()
    except KeyboardInterrupt:
        on_interrupt()
        stop_supervisor(stack.supervisor)
        return True
    return False


@contextmanager
def _ended_on_interrupt(supervisor: psutil.Process) -> Iterator[None]:
    try:
        yield
    except BaseException:
        stop_supervisor(supervisor)
        raise


def _follow_start(announcements: Iterator[str], log_file: Path) -> None:
    for line in announcements:
        message = json.loads(line)
        if message["kind"] == "ready":
            return
        if message["kind"] == "problem":
            raise StackProblem(message["text"])
        note(message["text"])
    raise StackProblem(f"The supervisor ended as it started. The end of {log_file}:\n{last_lines(log_file)}")
