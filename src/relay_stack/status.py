"""Read the current state of the local stack, for `relay status`."""

from dataclasses import replace
from pathlib import Path

import psutil

from relay_stack.files.data_dir import stack_is_up
from relay_stack.files.stack_state import ProcessState, StackState, read_state


def current_state(data_dir: Path) -> StackState | None:
    """Return the state of the running stack of a data directory; None if no stack runs.

    Each process is checked, so that one that has just died is shown as `restarting`.
    """
    if not stack_is_up(data_dir):
        return None
    state = read_state(data_dir)
    return replace(state, processes=tuple(_checked(process) for process in state.processes)) if state else None


def _checked(process: ProcessState) -> ProcessState:
    """Return the state of a process: `restarting` if it has died and the supervisor has not recorded that yet."""
    if process.pid is None or _lives(process.pid):
        return process
    return ProcessState(process.name, None, "restarting")


def _lives(pid: int) -> bool:
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False
