"""The git of this node, and what it is too old for."""

import re
import subprocess
from functools import cache

PINS_ADDRESSES = (2, 37)
"""The first that connects to the address it is given (``http.curloptResolve``); older ones ignore that in silence."""


@cache
def git_version() -> tuple[int, int] | None:
    """Major and minor number; None where git cannot be run."""
    try:
        done = subprocess.run(["git", "--version"], capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    found = re.match(r"git version (\d+)\.(\d+)", done.stdout)
    return (int(found[1]), int(found[2])) if found else None


def too_old_to_pin(version: tuple[int, int] | None) -> str | None:
    """Why remotes over HTTP cannot be held to the address that was judged; None where they can."""
    if version is not None and version >= PINS_ADDRESSES:
        return None
    mine = "cannot be run" if version is None else f"is {version[0]}.{version[1]}"
    wanted = ".".join(map(str, PINS_ADDRESSES))
    return f"git of this node {mine}; {wanted} or later is needed to hold http and https remotes to a public address"
