"""The processes of a container as its host sees them: nothing in the container can feign or hide them.

This needs the host's process table: a worker on the host has it, one in a container with `pid: host`. Where it is not
to be had, `OutsideView.processes` answers None, and the engine is asked (`ps` on its host).
"""

import os
import signal
import stat
import time
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

_PROC = Path("/proc")
_CGROUPS = Path("/sys/fs/cgroup")
_ACCOUNTS = ("passwd", "group")
"""The files of a container that the engine opens at each exec."""
_END_SECONDS = 5.0
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
TOP = "-eo pid,ppid,stat,rgid,egid,sgid,fgid"
"""What `ps` of the engine's host is asked for."""


class Seen(NamedTuple):
    """A live process."""

    pid: int
    parent: int
    gids: tuple[int, ...]
    """Real, effective, saved, of its files."""


def parse_top(answer: Mapping[str, Any]) -> list[Seen]:
    """The live processes in an answer of the engine's ``top``."""
    rows = [row for row in answer.get("Processes") or () if row[2][0] not in "XZ" or "l" in row[2]]
    return [Seen(int(row[0]), int(row[1]), tuple(int(gid) for gid in row[3:7])) for row in rows]


def chosen(seen: Sequence[Seen], mode: str, gids: Collection[int]) -> list[Seen]:
    """Those that a kill is for: of these ``gids`` (mode ``only``), or of none of them (mode ``except``).

    With ``except``, what the engine started with gid 0 is not meant: the first process, and Relay's own helpers.
    """
    inside = {one.pid for one in seen}
    if mode == "only":
        return [one for one in seen if set(one.gids) & set(gids)]
    return [
        one for one in seen if not set(one.gids) & set(gids) and not (one.parent not in inside and one.gids[0] == 0)
    ]


class OutsideView:
    """Containers of this host; usable from many threads."""

    def __init__(self) -> None:
        self._inits: dict[str, int] = {}

    def init_of(self, container_id: str) -> int | None:
        """The host's pid of a container's first process; None where it does not run or cannot be seen."""
        known = self._inits.get(container_id)
        if known is not None and _is_init(known, container_id):
            return known
        found = next((pid for pid in _pids() if _is_init(pid, container_id)), None)
        if found is None:
            self._inits.pop(container_id, None)
        else:
            self._inits[container_id] = found
        return found

    def processes(self, container_id: str) -> list[Seen] | None:
        """The live processes of a container, the first one included; None where they cannot be seen."""
        init = self.init_of(container_id)
        members = None if init is None else _members(init)
        if init is None or members is None or init not in members:
            return None
        return [seen for pid in members if (seen := _look(pid)) is not None]

    def end(self, container_id: str) -> bool:
        """End everything in a container at once, without the engine; False where that cannot be done from here."""
        init = self.init_of(container_id)
        if init is None:
            return False
        self.unblock(container_id)
        with suppress(ProcessLookupError, PermissionError):
            os.kill(init, signal.SIGKILL)  # the kernel ends the rest of its namespace before it is gone
        deadline = time.monotonic() + _END_SECONDS
        while _is_init(init, container_id):
            if time.monotonic() > deadline:
                return False
            time.sleep(0.02)
        return True

    def unblock(self, container_id: str) -> None:
        """Let go an engine that waits for the other end of a FIFO in the place of a container's account file."""
        init = self.init_of(container_id)
        if init is None:
            return
        with suppress(OSError):
            root = os.open(_PROC / str(init) / "root", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                etc = os.open("etc", _DIRECTORY, dir_fd=root)
            finally:
                os.close(root)
            try:
                for name in _ACCOUNTS:
                    _open_other_end(etc, name)
            finally:
                os.close(etc)


def _open_other_end(directory: int, name: str) -> None:
    with suppress(OSError):  # ENXIO: nobody waits
        if stat.S_ISFIFO(os.stat(name, dir_fd=directory, follow_symlinks=False).st_mode):
            flags = os.O_WRONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC
            os.close(os.open(name, flags, dir_fd=directory))


def _pids() -> list[int]:
    return [int(path.name) for path in _PROC.iterdir() if path.name.isdigit()]


def _is_init(pid: int, container_id: str) -> bool:
    """Whether it is the live first process of that container; only from outside of its namespace is it seen as such."""
    try:
        if container_id not in (_PROC / str(pid) / "cgroup").read_text():
            return False
        status = _status(pid)
    except (OSError, ValueError):
        return False
    numbers = status.get("NSpid", "").split()
    return len(numbers) > 1 and numbers[-1] == "1" and not status["State"].startswith(("Z", "X"))


def _members(init: int) -> list[int] | None:
    """All of its control group, which no process of it can leave."""
    try:
        groups = [line.split(":", 2) for line in (_PROC / str(init) / "cgroup").read_text().splitlines()]
    except OSError:
        return None
    for _, names, path in sorted(groups, key=lambda group: group[1] != "pids"):
        file = _CGROUPS / names / path.lstrip("/") / "cgroup.procs"
        with suppress(OSError, ValueError):
            return [int(word) for word in file.read_text().split()]
    return None


def _look(pid: int) -> Seen | None:
    try:
        status = _status(pid)
    except OSError:
        return None
    dead = status["State"].startswith(("X", "Z")) and status.get("Threads", "1") == "1"
    return None if dead else Seen(pid, int(status["PPid"]), tuple(int(gid) for gid in status["Gid"].split()))


def _status(pid: int) -> dict[str, str]:
    lines = (_PROC / str(pid) / "status").read_text().splitlines()
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}
