"""The JSON of a process handle in Postgres: `execution_processes.handle`."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from relay_core.domain.process_handle import ProcessHandle

WITHOUT_VERSION = 0
"""Version of a handle that was written before handles had a version.

Such a handle has no field `fence` either: the fence is the last part of `run_dir`.
"""


def handle_to_json(handle: ProcessHandle) -> dict[str, Any]:
    """Return a handle as the row stores it; fields that are None are left out."""
    return {name: value for name, value in asdict(handle).items() if value is not None}


def handle_from_json(stored: Mapping[str, Any]) -> ProcessHandle:
    """Return a handle from its stored JSON, which this, an older or a newer version of Relay wrote.

    Fields that this version does not know are ignored.
    """
    run_dir = stored.get("run_dir")
    fence = stored.get("fence")
    if fence is None and run_dir is not None:
        fence = int(run_dir.rpartition("/")[2])
    return ProcessHandle(
        stored["gid"],
        fence,
        stored.get("port"),
        stored.get("forward_port"),
        stored.get("replaces"),
        stored.get("rebase"),
        stored.get("version", WITHOUT_VERSION),
    )
