"""Reads the processes of a container from the host's /proc or the engine's ``top``."""

import os
import signal
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

PROC = Path("/proc")
_CGROUPS = Path("/sys/fs/cgroup")
TOP = "-eo pid,ppid,stat,rgid,egid,sgid,fgid,comm"
"""The arguments of ``ps`` in a request for the engine's ``top``; `parse_top` reads the columns in this order."""


class ContainerProcess(NamedTuple):
    """A live process of a container, with the pids and gids that the host shows."""

    pid: int
    parent: int
    """The pid of its parent. If the engine started the process, the parent is outside the container."""
    gids: tuple[int, ...]
    """The real, effective, saved and file-system gid."""
    name: str = ""
    """The name of its program, at most 15 bytes; the process can change it."""


def parse_top(answer: Mapping[str, Any]) -> list[ContainerProcess]:
    """Return the live processes in an answer of the engine's ``top``; a zombie counts if some of its threads live."""
    rows = [row for row in answer.get("Processes") or () if row[2][0] not in "XZ" or "l" in row[2]]
    return [ContainerProcess(int(row[0]), int(row[1]), tuple(int(gid) for gid in row[3:7]), row[7]) for row in rows]


def all_pids() -> list[int]:
    """Return the pids of all processes that this worker's /proc shows."""
    return [int(path.name) for path in PROC.iterdir() if path.name.isdigit()]


def is_init(pid: int, container_id: str) -> bool:
    """Return whether a process is the live first process of a container.

    The answer is False for every process if this worker is in a pid namespace that does not contain the container's.
    """
    try:
        if container_id not in (PROC / str(pid) / "cgroup").read_text():
            return False
        status = _status(pid)
    except (OSError, ValueError):
        return False
    numbers = status.get("NSpid", "").split()
    return len(numbers) > 1 and numbers[-1] == "1" and not status["State"].startswith(("Z", "X"))


def is_shim(pid: int, container_id: str) -> bool:
    """Return whether a process is the containerd-shim of a container."""
    try:
        argv = (PROC / str(pid) / "cmdline").read_bytes().decode(errors="replace").split("\0")
    except OSError:
        return False
    return Path(argv[0]).name.startswith("containerd-shim") and container_id in argv


def children_of(pid: int) -> list[int]:
    """Return the pids of a process's children; an empty list if the process is gone."""
    with suppress(OSError, ValueError):
        return [int(child) for child in (PROC / str(pid) / "task" / str(pid) / "children").read_text().split()]
    return []


def members_of(init: int) -> list[int] | None:
    """Return the pids in a process's control group; None if the group cannot be read.

    No process in a container can leave its control group.

    Args:
        init: the host's pid of the container's first process.
    """
    try:
        groups = [line.split(":", 2) for line in (PROC / str(init) / "cgroup").read_text().splitlines()]
    except OSError:
        return None
    for _, names, path in sorted(groups, key=lambda group: group[1] != "pids"):
        file = _CGROUPS / names / path.lstrip("/") / "cgroup.procs"
        with suppress(OSError, ValueError):
            return [int(member) for member in file.read_text().split()]
    return None


def read_process(pid: int) -> ContainerProcess | None:
    """Read a process; return None if it has exited.

    A process whose main thread has exited still counts as live while other threads of it live.
    """
    try:
        status = _status(pid)
    except OSError:
        return None
    dead = status["State"].startswith(("X", "Z")) and status.get("Threads", "1") == "1"
    gids = tuple(int(gid) for gid in status["Gid"].split())
    return None if dead else ContainerProcess(pid, int(status["PPid"]), gids, status["Name"])


def send_signal(pid: int, number: signal.Signals) -> None:
    """Send a signal; do nothing if the process is gone or this worker may not signal it."""
    with suppress(ProcessLookupError, PermissionError):
        os.kill(pid, number)


def _status(pid: int) -> dict[str, str]:
    lines = (PROC / str(pid) / "status").read_text().splitlines()
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}
