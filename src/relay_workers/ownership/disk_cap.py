"""The disk space that the workspace of a live execution may take."""

from pathlib import Path
from typing import NamedTuple


class DiskCap(NamedTuple):
    """A workspace and the limit on its disk space, as `maintenance.disk_limits` measures it."""

    directory: Path
    """The workspace directory on this node."""
    container_id: str
    """The workspace container; its layer and its volumes count too."""
    bytes: int
    """Most bytes; the most files follow from it (`relay_core.domain.limits.files_for`)."""
