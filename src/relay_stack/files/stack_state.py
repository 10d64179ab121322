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
    """Process id; None while the process is not running."""
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
    """Start time of the supervisor in seconds since the epoch (psutil's `create_time`). Together with the pid it
    identifies the process; the pid alone may be reused by another process."""

    def public(self) -> dict[str, Any]:
        """Return the fields that `relay status --json` prints; programs rely on their names."""
        shown = asdict(self)
        return {name: value for name, value in shown.items() if not name.startswith("supervisor_")}


def write_state(data_dir: Path, state: StackState) -> None:
    """Write the state to `stack.json`, atomically."""
    write_private(_file(data_dir), json.dumps(asdict(state), indent=2))


def read_state(data_dir: Path) -> StackState | None:
    """Return the state in `stack.json`. None if the file does not exist; a stack that stops normally removes it."""
    try:
        found = json.loads(_file(data_dir).read_text())
    except FileNotFoundError:
        return None
    processes = tuple(ProcessState(**fields) for fields in found.pop("processes"))
    return StackState(processes=processes, **found)


def forget_state(data_dir: Path) -> None:
    """Remove `stack.json`, if it exists."""
    _file(data_dir).unlink(missing_ok=True)


def _file(data_dir: Path) -> Path:
    return data_dir / "stack.json"
