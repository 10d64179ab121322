"""The version of git on this node, and whether this version can be made to connect to a given address only."""

import re
import subprocess
from functools import cache

PINS_ADDRESSES = (2, 37)
"""First version with ``http.curloptResolve``, which makes git connect to a given address; older versions ignore it."""


@cache
def git_version() -> tuple[int, int] | None:
    """Return the major and minor version number of git on this node; None if git cannot be run."""
    try:
        done = subprocess.run(["git", "--version"], capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    found = re.match(r"git version (\d+)\.(\d+)", done.stdout)
    return (int(found[1]), int(found[2])) if found else None


def too_old_to_pin(version: tuple[int, int] | None) -> str | None:
    """Return why git cannot be made to connect only to the checked address of an HTTP remote; None if it can.

    Args:
        version: major and minor version number of git; None if git cannot be run.
    """
    if version is not None and version >= PINS_ADDRESSES:
        return None
    mine = "cannot be run" if version is None else f"is {version[0]}.{version[1]}"
    needed = ".".join(map(str, PINS_ADDRESSES))
    return f"git of this node {mine}; {needed} or later is needed to hold http and https remotes to a public address"
