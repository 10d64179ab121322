"""State of a running stack: the file `stack.json` in the data directory, which only its owner can read."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from relay_stack.files.private_file import write_private


@dataclass(frozen=True)
class ProcessState:
    """One process that the supervisor keeps alive."""

    name: str
    pid: int | None
    """None: the process does not run now."""
    state: str
    """`starting`, `running`, `restarting` (it died; the supervisor starts it again) or `stopped`."""


@dataclass(frozen=True)
class StackState:
    """Addresses, credentials and processes of a stack."""

    api_url: str
    token: str
    flower_url: str
    flower_user: str
    flower_password: str
    processes: tuple[ProcessState, ...]
    supervisor_pid: int
    supervisor_began: float
    """Start time of the supervisor (psutil's `create_time`), because the pid may be reused by another process."""

    def public(self) -> dict[str, Any]:
        """The fields that `relay status --json` prints; programs rely on them."""
        shown = asdict(self)
        return {name: value for name, value in shown.items() if not name.startswith("supervisor_")}


def write_state(data_dir: Path, state: StackState) -> None:
    """Replace `stack.json` atomically."""
    write_private(_file(data_dir), json.dumps(asdict(state), indent=2))


def read_state(data_dir: Path) -> StackState | None:
    """The state that was written last; None where no stack runs, or the last one removed its state when it ended."""
    try:
        found = json.loads(_file(data_dir).read_text())
    except FileNotFoundError:
        return None
    processes = tuple(ProcessState(**fields) for fields in found.pop("processes"))
    return StackState(processes=processes, **found)


def forget_state(data_dir: Path) -> None:
    """Remove `stack.json`, if it is there."""
    _file(data_dir).unlink(missing_ok=True)


def _file(data_dir: Path) -> Path:
    return data_dir / "stack.json"
