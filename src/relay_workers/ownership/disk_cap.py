"""The limit on the disk space of a live execution's workspace."""

from pathlib import Path
from typing import NamedTuple


class DiskCap(NamedTuple):
    """A workspace and the limit on its disk space, which `maintenance.disk_limits` enforces."""

    directory: Path
    """The directory of the workspace on this node."""
    container_id: str
    """The container of the workspace; its writable layer and its volumes count too."""
    bytes: int
    """Largest number of bytes. The largest number of files follows from it (`relay_core.domain.limits.files_for`)."""
    logs: tuple[Path, ...] = ()
    """The directories with the log files of the execution, which count too."""
