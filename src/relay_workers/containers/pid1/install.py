"""Puts relay-pid1 into the host directory that is mounted into every workspace container."""

import os
import platform
from importlib.resources import files
from pathlib import Path
from tempfile import NamedTemporaryFile

from relay_core.domain.errors import RelayError
from relay_workers.containers.pid1.channel import BOOTSTRAP
from relay_workers.containers.port import CHANNEL, PROGRAMS

_PROGRAM = "relay-pid1"
COMMAND = (f"{PROGRAMS}/{_PROGRAM}", f"{CHANNEL}/{BOOTSTRAP}")
"""The command of the first process of a workspace container, with paths in the container."""


class ProgramMissing(RelayError):  # noqa: N818 - named after the state
    """This installation of Relay has no relay-pid1 for the architecture of this machine."""


def install_programs(data_dir: Path) -> Path:
    """Bring the directory ``<data_dir>/supervisor`` up to date and return its path.

    This is safe while containers use the directory: a changed program is replaced, never overwritten in place.

    Raises:
        ProgramMissing: relay-pid1 was not built for this machine.
        OSError: the directory cannot be written.
    """
    directory = data_dir / "supervisor"
    for made in (directory, directory / Path(CHANNEL).name):  # the engine mounts the channel over the second one
        made.mkdir(mode=0o755, parents=True, exist_ok=True)
        made.chmod(0o755)
    _replace(directory / _PROGRAM, _content())
    return directory


def _content() -> bytes:
    try:
        return files(__package__).joinpath("bin", f"{_PROGRAM}-{platform.machine()}").read_bytes()
    except FileNotFoundError as error:
        message = f"relay-pid1 is not built for {platform.machine()}; run `scripts/up`, or install a wheel of Relay"
        raise ProgramMissing(message) from error


def _replace(path: Path, content: bytes) -> None:
    if path.is_file() and path.read_bytes() == content:
        return
    with NamedTemporaryFile(dir=path.parent, prefix=".new-", delete=False) as file:
        file.write(content)
        os.fchmod(file.fileno(), 0o755)
    Path(file.name).replace(path)
