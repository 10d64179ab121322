"""The version of git on this node, and whether it can pin the address of a remote."""

import re
import subprocess
from functools import cache

PINS_ADDRESSES = (2, 37)
"""First version with ``http.curloptResolve``, which makes git connect to a given address; older ones ignore it."""


@cache
def git_version() -> tuple[int, int] | None:
    """Return the major and minor number of git; None if git cannot be run."""
    try:
        done = subprocess.run(["git", "--version"], capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    found = re.match(r"git version (\d+)\.(\d+)", done.stdout)
    return (int(found[1]), int(found[2])) if found else None


def too_old_to_pin(version: tuple[int, int] | None) -> str | None:
    """Explain why git cannot be made to connect to the checked address of an HTTP remote; None if it can."""
    if version is not None and version >= PINS_ADDRESSES:
        return None
    mine = "cannot be run" if version is None else f"is {version[0]}.{version[1]}"
    needed = ".".join(map(str, PINS_ADDRESSES))
    return f"git of this node {mine}; {needed} or later is needed to hold http and https remotes to a public address"
