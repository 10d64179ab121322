"""Inspects and kills the processes of a container from its host, where nothing in the container can fake or hide them.

This needs the host's process table. A worker on the host has it, and so has a worker in a container with ``pid: host``.
Without it, `HostView.processes` returns None, and the caller asks the engine to run ``ps`` on its host.
"""

import os
import signal
import stat
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

from relay_workers.containers.docker.process_table import (
    PROC,
    ContainerProcess,
    all_pids,
    children_of,
    is_init,
    is_shim,
    members_of,
    read_process,
    send_signal,
)

_ACCOUNTS = ("/etc/passwd", "/etc/group")
"""The files of a container that the engine opens at each exec."""
_END_SECONDS = 5.0


class HostView:
    """The containers of this host, seen through /proc; usable from many threads."""

    def __init__(self) -> None:
        self._inits: dict[str, int] = {}

    def init_of(self, container_id: str) -> int | None:
        """Return the host's pid of a container's first process; None if it does not run or cannot be seen."""
        known = self._inits.get(container_id)
        if known is not None and is_init(known, container_id):
            return known
        found = next((pid for pid in all_pids() if is_init(pid, container_id)), None)
        if found is None:
            self._inits.pop(container_id, None)
        else:
            self._inits[container_id] = found
        return found

    def processes(self, container_id: str) -> list[ContainerProcess] | None:
        """Return a container's live processes, including the first; None if this worker cannot see them."""
        init = self.init_of(container_id)
        members = None if init is None else members_of(init)
        if init is None or members is None or init not in members:
            return None
        return [process for pid in members if (process := read_process(pid)) is not None]

    def end(self, container_id: str) -> bool:
        """Kill every process of a container without the engine; return False if that is not possible from here.

        All processes are stopped (SIGSTOP) first, so that none creates the files again that `unblock` removes.
        """
        init = self.init_of(container_id)
        if init is None:
            return False
        for process in self.processes(container_id) or ():
            send_signal(process.pid, signal.SIGSTOP)
        self.unblock(container_id)
        send_signal(init, signal.SIGKILL)  # the kernel kills the rest of the pid namespace before init is gone
        deadline = time.monotonic() + _END_SECONDS
        while is_init(init, container_id):
            if time.monotonic() > deadline:
                return False
            time.sleep(0.02)
        return True

    def unblock(self, container_id: str) -> None:
        """Remove a FIFO that a step put in the place of ``/etc/passwd`` or ``/etc/group``, and unblock the engine.

        An engine that opens such a FIFO hangs until another process opens the other end. This must happen before the
        container is stopped, because the file is reached through the container's first process.
        """
        init = self.init_of(container_id)
        with suppress(OSError, subprocess.TimeoutExpired):
            if init is not None and not _has_plain_accounts(PROC / str(init) / "root"):
                command = [sys.executable, "-I", "-S", "-c", _OPEN_OTHER_ENDS, str(init), *_ACCOUNTS]
                subprocess.run(command, check=False, capture_output=True, timeout=_END_SECONDS)

    def end_stale_shim(self, container_id: str) -> bool:
        """Kill the containerd-shim of a start during which the engine died; return whether there was one.

        containerd keeps the container's task as long as its shim is alive, and refuses to create a new one ("already
        exists"). The caller must know that the engine does not run this container.
        """
        shims = [pid for pid in all_pids() if is_shim(pid, container_id)]
        for pid in shims:
            for child in children_of(pid):
                send_signal(child, signal.SIGKILL)
            send_signal(pid, signal.SIGKILL)
        return bool(shims)


_OPEN_OTHER_ENDS = """
import os, stat, sys
os.chroot(f"/proc/{sys.argv[1]}/root")  # so that no link leads out of the container
os.chdir("/")
for name in sys.argv[2:]:
    try:
        if not stat.S_ISFIFO(os.stat(name).st_mode):
            continue
        end = os.open(name, os.O_RDWR | os.O_NONBLOCK)  # both ends, so that the open does not wait
        os.unlink(name)
        os.close(end)
    except OSError:  # the file is not there
        pass
"""


def _has_plain_accounts(root: Path) -> bool:
    """Return whether both account files are regular files; symlinks are not followed."""
    etc = os.open(root / "etc", os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        modes = [os.stat(Path(name).name, dir_fd=etc, follow_symlinks=False).st_mode for name in _ACCOUNTS]
    finally:
        os.close(etc)
    return all(stat.S_ISREG(mode) for mode in modes)
