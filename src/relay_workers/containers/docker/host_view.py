"""The processes of a container as its host sees them: nothing in the container can feign or hide them.

This needs the host's process table: a worker on the host has it, one in a container with `pid: host`. Where it is not
to be had, `HostView.processes` answers None, and the engine is asked (`ps` on its host).
"""

import os
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

_PROC = Path("/proc")
_CGROUPS = Path("/sys/fs/cgroup")
_ACCOUNTS = ("/etc/passwd", "/etc/group")
"""The files of a container that the engine opens at each exec."""
_END_SECONDS = 5.0
TOP = "-eo pid,ppid,stat,rgid,egid,sgid,fgid,comm"
"""What `ps` of the engine's host is asked for."""


class ContainerProcess(NamedTuple):
    """A live process."""

    pid: int
    parent: int
    gids: tuple[int, ...]
    """Real, effective, saved, of its files."""
    name: str = ""
    """Of its program, 15 bytes at most."""


def parse_top(answer: Mapping[str, Any]) -> list[ContainerProcess]:
    """The live processes in an answer of the engine's ``top``."""
    rows = [row for row in answer.get("Processes") or () if row[2][0] not in "XZ" or "l" in row[2]]
    return [ContainerProcess(int(row[0]), int(row[1]), tuple(int(gid) for gid in row[3:7]), row[7]) for row in rows]


def processes_to_end(seen: Sequence[ContainerProcess], mode: str, gids: Collection[int]) -> list[ContainerProcess]:
    """Those that a kill is for: of these ``gids`` (mode ``only``), or of none of them (mode ``except``).

    With ``except``, what the engine started with gid 0 is not meant: the first process, and Relay's own helpers.
    """
    inside = {one.pid for one in seen}
    if mode == "only":
        return [one for one in seen if set(one.gids) & set(gids)]
    return [
        one for one in seen if not set(one.gids) & set(gids) and not (one.parent not in inside and one.gids[0] == 0)
    ]


def leftover_names(seen: Sequence[ContainerProcess], gid: int) -> list[str]:
    """Names of what a step of this ``gid`` has left running: all but its supervisor and what that has started."""
    inside = {one.pid for one in seen}
    spared = {one.pid for one in seen if one.gids[0] == gid and one.parent not in inside}
    while more := {one.pid for one in seen if one.parent in spared} - spared:
        spared |= more
    return sorted(one.name for one in seen if gid in one.gids and one.pid not in spared)


class HostView:
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

    def processes(self, container_id: str) -> list[ContainerProcess] | None:
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
        for one in self.processes(container_id) or ():  # so that nothing makes anew what is taken away
            _signal(one.pid, signal.SIGSTOP)
        self.unblock(container_id)
        _signal(init, signal.SIGKILL)  # the kernel ends the rest of its namespace before it is gone
        deadline = time.monotonic() + _END_SECONDS
        while _is_init(init, container_id):
            if time.monotonic() > deadline:
                return False
            time.sleep(0.02)
        return True

    def unblock(self, container_id: str) -> None:
        """Remove a FIFO in the place of a container's account file, and let go an engine that waits for its other end.

        To be done before a container is stopped: without its first process there is no way to the file.
        """
        init = self.init_of(container_id)
        with suppress(OSError, subprocess.TimeoutExpired):
            if init is not None and not _has_plain_accounts(_PROC / str(init) / "root"):
                command = [sys.executable, "-I", "-S", "-c", _OPEN_OTHER_ENDS, str(init), *_ACCOUNTS]
                subprocess.run(command, check=False, capture_output=True, timeout=_END_SECONDS)

    def end_stale_shim(self, container_id: str) -> bool:
        """End what a start has left that died with its engine; only for a container that the engine does not run.

        containerd keeps the task as long as its shim lives, and refuses a new one ("already exists").
        """
        shims = [pid for pid in _pids() if _is_shim(pid, container_id)]
        for pid in shims:
            for child in _children(pid):
                _signal(child, signal.SIGKILL)
            _signal(pid, signal.SIGKILL)
        return bool(shims)


_OPEN_OTHER_ENDS = """
import os, stat, sys
os.chroot(f"/proc/{sys.argv[1]}/root")  # so that no link leads out of the container
os.chdir("/")
for name in sys.argv[2:]:
    try:
        if not stat.S_ISFIFO(os.stat(name).st_mode):
            continue
        end = os.open(name, os.O_RDWR | os.O_NONBLOCK)  # both ends: it waits for nobody
        os.unlink(name)
        os.close(end)
    except OSError:  # not there
        pass
"""


def _has_plain_accounts(root: Path) -> bool:
    """Whether both are files of their own; no link is followed."""
    etc = os.open(root / "etc", os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        modes = [os.stat(Path(name).name, dir_fd=etc, follow_symlinks=False).st_mode for name in _ACCOUNTS]
    finally:
        os.close(etc)
    return all(stat.S_ISREG(mode) for mode in modes)


def _signal(pid: int, number: signal.Signals) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.kill(pid, number)


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


def _is_shim(pid: int, container_id: str) -> bool:
    """Whether it is the containerd-shim of a container."""
    try:
        words = (_PROC / str(pid) / "cmdline").read_bytes().decode(errors="replace").split("\0")
    except OSError:
        return False
    return Path(words[0]).name.startswith("containerd-shim") and container_id in words


def _children(pid: int) -> list[int]:
    with suppress(OSError, ValueError):
        return [int(word) for word in (_PROC / str(pid) / "task" / str(pid) / "children").read_text().split()]
    return []


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


def _look(pid: int) -> ContainerProcess | None:
    try:
        status = _status(pid)
    except OSError:
        return None
    dead = status["State"].startswith(("X", "Z")) and status.get("Threads", "1") == "1"
    gids = tuple(int(gid) for gid in status["Gid"].split())
    return None if dead else ContainerProcess(pid, int(status["PPid"]), gids, status["Name"])


def _status(pid: int) -> dict[str, str]:
    lines = (_PROC / str(pid) / "status").read_text().splitlines()
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}
