"""`relay status`: what the local stack looks like now."""

from dataclasses import replace
from pathlib import Path

import psutil

from relay_stack.files.data_dir import stack_is_up
from relay_stack.files.stack_state import ProcessState, StackState, read_state


def current_state(data_dir: Path) -> StackState | None:
    """The running stack of a data directory, each process checked; None where none runs."""
    if not stack_is_up(data_dir):
        return None
    state = read_state(data_dir)
    return replace(state, processes=tuple(_checked(one) for one in state.processes)) if state else None


def _checked(process: ProcessState) -> ProcessState:
    """The supervisor notes a death within moments; in between the pid itself tells."""
    if process.pid is None or _lives(process.pid):
        return process
    return ProcessState(process.name, None, "restarting")


def _lives(pid: int) -> bool:
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False
