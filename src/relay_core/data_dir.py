"""The data directory of this machine, for programs that must start quickly and need no other setting."""

import os
from pathlib import Path

from relay_core.domain.errors import InvalidInput

NOT_ABSOLUTE = "RELAY_DATA_DIR must be an absolute path: the container engine mounts it under the same name"


def default_data_dir() -> Path:
    """Return the data directory that is used when RELAY_DATA_DIR is not set."""
    return Path("/var/lib/relay") if os.geteuid() == 0 else Path.home() / ".local" / "share" / "relay"


def own_data_dir() -> Path:
    """Return the data directory from RELAY_DATA_DIR, or the default.

    It is `Settings.data_dir`, but reading it does not load and check all settings, which takes 0.15 s.

    Raises:
        InvalidInput: RELAY_DATA_DIR is not an absolute path.
    """
    text = os.environ.get("RELAY_DATA_DIR")
    path = Path(text) if text else default_data_dir()
    if not path.is_absolute():
        raise InvalidInput(NOT_ABSOLUTE)
    return path
