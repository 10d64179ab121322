"""Measures the disk space of a workspace: its directories, and deleted files that its processes still hold open."""

import os
import random
import re
import stat
import subprocess
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import structlog

from relay_core.domain.limits import files_for

log = structlog.get_logger(__name__)

LONGEST_MEASUREMENT_SECONDS = 120.0
MOST_DESCRIPTORS = 200_000
"""Largest number of open file descriptors that one measurement checks; of more, a random sample is checked."""
_PROC = Path("/proc")
_CONTAINER_ID = re.compile(r"\b[0-9a-f]{64}\b")
_IN_MEMORY = {"tmpfs", "ramfs", "hugetlbfs", "mqueue"}
"""File systems in memory; they are left out here, because the limit `memory_bytes` covers them."""


class DiskUsage(NamedTuple):
    """Disk space in bytes, and the number of inodes (files, directories, links and others)."""

    bytes: int
    files: int

    def plus(self, other: "DiskUsage") -> "DiskUsage":
        """Return the sum of two usages."""
        return DiskUsage(self.bytes + other.bytes, self.files + other.files)

    def exceeds(self, limit_bytes: int) -> bool:
        """Return whether there are more bytes than the limit, or more files than `files_for` allows with that limit."""
        return self.bytes > limit_bytes or self.files > files_for(limit_bytes)


def directory_usage(
    directories: Sequence[Path], timeout_seconds: float = LONGEST_MEASUREMENT_SECONDS
) -> DiskUsage | None:
    """Measure the disk space of directories and everything below them with the host's `du`.

    A file with several hard links counts once. `du` follows no symbolic link and stays on the file system of each
    directory. It is a separate process, so it does not block the threads of this worker.

    Returns:
        The sum over all directories; None if `du` fails or takes longer than ``timeout_seconds``.
    """
    (usage,) = directory_usages([directories], timeout_seconds)
    if usage is None:
        log.warning("a workspace cannot be measured", directory=str(directories[0]))
    return usage


def directory_usages(groups: Sequence[Sequence[Path]], timeout_seconds: float) -> list[DiskUsage | None]:
    """Measure several groups of directories, with the same processes for all of them.

    No file may have links in two groups: it would count for one of them only. Workspaces are mounted into their
    containers separately, so no container can link a file of another one.

    Returns:
        For each group the sum over its directories; None if no directory of it could be measured. All are None if `du`
        takes longer than ``timeout_seconds``.
    """
    directories = [directory for group in groups for directory in group]
    sizes = _du("--block-size=1", directories, timeout_seconds)
    files = _du("--inodes", directories, timeout_seconds) if sizes else {}
    return [
        DiskUsage(sum(sizes[one] for one in found), sum(files[one] for one in found)) if found else None
        for found in ([one for one in group if one in sizes and one in files] for group in groups)
    ]


def _du(count: str, directories: Sequence[Path], timeout_seconds: float) -> dict[Path, int]:
    """Return what `du` counts, by directory, without those that it could not measure."""
    command = ["du", "--summarize", "--null", "--one-file-system", count, "--", *map(str, directories)]
    try:
        done = subprocess.run(command, capture_output=True, timeout=timeout_seconds, check=False)
        # `du` fails for a file that was removed meanwhile, but what it prints is right
        lines = [line.split(b"\t", 1) for line in done.stdout.split(b"\0") if line]
        return {Path(os.fsdecode(path)): int(size) for size, path in lines}
    except (subprocess.TimeoutExpired, ValueError):
        return {}


def processes_by_container(proc: Path = _PROC) -> dict[str, list[int]]:
    """Return process ids on the host by container id, which is read from the cgroup of each process."""
    pids: dict[str, list[int]] = {}
    for entry in proc.iterdir():
        if entry.name.isdecimal():
            with suppress(OSError):  # the process has ended meanwhile
                for container_id in set(_CONTAINER_ID.findall((entry / "cgroup").read_text())):
                    pids.setdefault(container_id, []).append(int(entry.name))
    return pids


def unlinked_file_usage(pids: Iterable[int], proc: Path = _PROC) -> DiskUsage:
    """Measure the disk space of files that processes of one container hold open although they were deleted.

    Files in memory are left out. A file that is only mapped into memory, or in transit through a socket, is not found.

    Args:
        pids: the processes.
        proc: the mount point of procfs.
    """
    order = list(pids)
    if not order:
        return DiskUsage(0, 0)
    in_memory = _memory_devices(proc, order[0])
    random.shuffle(order)  # so that each descriptor is checked in some measurement
    sizes: dict[tuple[int, int], int] = {}
    budget = MOST_DESCRIPTORS
    for pid in order:
        for path in _descriptors(proc / str(pid) / "fd", budget):
            budget -= 1
            with suppress(OSError):
                status = path.stat() if str(path.readlink()).endswith(" (deleted)") else None
                if status and stat.S_ISREG(status.st_mode) and not status.st_nlink and status.st_dev not in in_memory:
                    sizes[status.st_dev, status.st_ino] = status.st_blocks * 512
    return DiskUsage(sum(sizes.values()), len(sizes))


def _descriptors(folder: Path, budget: int) -> Iterator[Path]:
    names: list[str] = []
    with suppress(OSError):  # the process has ended, or belongs to another account
        names = [entry.name for entry in folder.iterdir()]
    if len(names) > budget:
        names = random.sample(names, max(budget, 0))
    return (folder / name for name in names)


def _memory_devices(proc: Path, pid: int) -> set[int]:
    """Return the device numbers of the in-memory file systems that a process sees."""
    anonymous = os.memfd_create("relay")
    try:
        devices = {os.fstat(anonymous).st_dev}
    finally:
        os.close(anonymous)
    with suppress(OSError):
        for line in (proc / str(pid) / "mountinfo").read_text().splitlines():
            mount, _, kind = line.partition(" - ")
            if kind.split(" ", 1)[0] in _IN_MEMORY:
                major, _, minor = mount.split()[2].partition(":")
                devices.add(os.makedev(int(major), int(minor)))
    return devices
