"""Installs Relay's programs and scripts into the host directory that is mounted into every workspace container."""

import os
from importlib.resources import files
from pathlib import Path
from tempfile import NamedTemporaryFile

from relay_workers.containers.in_container import programs
from relay_workers.containers.port import SUPERVISOR

_SCRIPTS = ("supervise.sh", "kill.sh")


def install_supervisor(data_dir: Path) -> Path:
    """Bring the directory ``<data_dir>/supervisor`` up to date and return its path.

    This is safe while containers use the directory: a changed file is replaced, never overwritten in place, because a
    running shell still reads its script file.

    Raises:
        OSError: the directory cannot be written.
    """
    directory = data_dir / "supervisor"
    directory.mkdir(mode=0o755, parents=True, exist_ok=True)
    directory.chmod(0o755)
    for name in _SCRIPTS:
        _replace(directory / name, files(__package__).joinpath(name).read_bytes(), 0o644)
    for name, program in (("pid1", programs.pid1()), ("dial", programs.dial())):
        if program is not None:
            _replace(directory / name, program, 0o755)
    return directory


def pid1_command() -> tuple[str, ...]:
    """Return the command of a workspace container's PID 1, with paths in the container."""
    return programs.IDLE_SHELL if programs.pid1() is None else (f"{SUPERVISOR}/pid1",)


def _replace(path: Path, content: bytes, mode: int) -> None:
    if path.is_file() and path.read_bytes() == content:
        return
    with NamedTemporaryFile(dir=path.parent, prefix=".new-", delete=False) as file:
        file.write(content)
        os.fchmod(file.fileno(), mode)
    Path(file.name).replace(path)
