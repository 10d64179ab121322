"""Prepare the machine for a stack, start the stack's supervisor, and wait until all processes are ready."""

import json
import os
import signal
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
from relay_stack.services.process import die_with_caller, last_lines

STOP_SECONDS = 120
"""Seconds for the supervisor to stop all processes in order. After that, the supervisor is killed, and the kernel
signals its children to stop."""


@dataclass(frozen=True)
class RunningStack:
    """A stack whose processes are ready."""

    state: StackState
    supervisor: psutil.Process


@dataclass(frozen=True)
class Machine:
    """Engine and images that a stack uses."""

    engine: Engine
    images: OwnImages


def prepare_machine(data_dir: Path, consent: Consent, *, common_names: bool = False) -> Machine:
    """Make data directory, system account, engine and images ready, and return engine and images.

    This is the part of a start that may change the machine, ask a person, or take minutes.

    Args:
        data_dir: data directory of the stack; created if it is missing.
        consent: permission to change the machine.
        common_names: give the images the tags ``relay-base:latest`` and ``relay-git:latest`` even if other images have
            these tags.

    Raises:
        StackProblem: something is missing and cannot be made here; the message says what to do.
    """
    # A strict umask of the caller would hide files: Postgres' account must enter the data directory, and containers'
    # users must read files that are copied into images.
    os.umask(0o022)
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


def start_stack(data_dir: Path, machine: Machine, *, attached: bool) -> RunningStack:
    """Start the supervisor and return when all processes are ready.

    Args:
        data_dir: data directory of the stack.
        machine: engine and images.
        attached: True makes the kernel stop the stack when the calling process ends, however it ends. False lets the
            stack keep running.

    Raises:
        StackProblem: the stack runs already or does not start. All processes of a failed start are stopped.
    """
    if stack_is_up(data_dir):
        raise StackProblem(
            f"A Relay stack runs on {data_dir} already. See it with `relay status`, end it with `relay down`."
        )
    log_file = data_dir / "logs" / "supervisor.log"
    log_file.parent.mkdir(exist_ok=True)
    reading, writing = os.pipe()
    with log_file.open("ab") as log, os.fdopen(reading) as announcements:
        command = [sys.executable, "-m", "relay_stack", "supervise", str(data_dir), machine.engine.host, str(writing)]
        process = subprocess.Popen(
            die_with_caller(command, signal.SIGTERM) if attached else command,
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
        raise StackProblem(f"The stack ended while it started. The end of {log_file}:\n{last_lines(log_file)}")
    return RunningStack(state, supervisor)


def stop_supervisor(supervisor: psutil.Process) -> None:
    """Stop a stack through its supervisor; return when all processes have ended."""
    try:
        supervisor.terminate()
        supervisor.wait(STOP_SECONDS)
    except psutil.NoSuchProcess:
        return
    except psutil.TimeoutExpired:
        supervisor.kill()  # the kernel then signals its children
        supervisor.wait()


def hold(stack: RunningStack, announce: Callable[[], None], on_interrupt: Callable[[], None]) -> bool:
    """Call `announce` and wait until the stack stops. On Ctrl-C, call `on_interrupt` and stop the stack.

    `announce` tells the user that Ctrl-C works, so it is called when it does: a Ctrl-C during the call counts.

    Returns:
        True if Ctrl-C stopped the stack, False if it stopped for another reason.
    """
    try:
        announce()
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
    raise StackProblem(f"The supervisor ended while it started. The end of {log_file}:\n{last_lines(log_file)}")
