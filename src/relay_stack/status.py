"""The present state of the local stack, for `relay status`."""

from dataclasses import replace
from pathlib import Path

import psutil

from relay_stack.files.data_dir import stack_is_up
from relay_stack.files.stack_state import ProcessState, StackState, read_state


def current_state(data_dir: Path) -> StackState | None:
    """State of the running stack of a data directory, with each process checked; None where no stack runs."""
    if not stack_is_up(data_dir):
        return None
    state = read_state(data_dir)
    return replace(state, processes=tuple(_checked(process) for process in state.processes)) if state else None


def _checked(process: ProcessState) -> ProcessState:
    """The process, shown as restarting where it has died and the supervisor has not written that yet."""
    if process.pid is None or _lives(process.pid):
        return process
    return ProcessState(process.name, None, "restarting")


def _lives(pid: int) -> bool:
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False
