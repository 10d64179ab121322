"""What a running stack says about itself: `stack.json` in the data directory, readable by its owner only."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from relay_stack.files.private_file import write_private


@dataclass(frozen=True)
class ProcessState:
    """One supervised process."""

    name: str
    pid: int | None
    state: str
    """`starting`, `running`, `restarting` (it died and is about to be started again) or `stopped`."""


@dataclass(frozen=True)
class StackState:
    """Where everything is, and how to get in."""

    api_url: str
    token: str
    flower_url: str
    flower_user: str
    flower_password: str
    processes: tuple[ProcessState, ...]
    supervisor_pid: int
    supervisor_began: float
    """Start time of the supervisor (psutil's `create_time`): a pid alone may be somebody else's by now."""

    def public(self) -> dict[str, Any]:
        """What `relay status --json` prints (design: a promise to outsiders)."""
        shown = asdict(self)
        return {name: value for name, value in shown.items() if not name.startswith("supervisor_")}


def write_state(data_dir: Path, state: StackState) -> None:
    """Replaces `stack.json` in one step."""
    write_private(_file(data_dir), json.dumps(asdict(state), indent=2))


def read_state(data_dir: Path) -> StackState | None:
    """The last state written; None where no stack runs or one was ended in an orderly way."""
    try:
        found = json.loads(_file(data_dir).read_text())
    except FileNotFoundError:
        return None
    processes = tuple(ProcessState(**one) for one in found.pop("processes"))
    return StackState(processes=processes, **found)


def forget_state(data_dir: Path) -> None:
    """Removes `stack.json`."""
    _file(data_dir).unlink(missing_ok=True)


def _file(data_dir: Path) -> Path:
    return data_dir / "stack.json"
