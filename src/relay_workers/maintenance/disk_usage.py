"""What a workspace takes of the node's disk: its directory, its container's layer and volumes, files without a name."""

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

log = structlog.get_logger(__name__)

LONGEST_MEASUREMENT_SECONDS = 120.0
DESCRIPTORS_LOOKED_AT = 200_000
"""Of one container in one measurement; of more, some that chance chooses."""
_PROC = Path("/proc")
_CONTAINER_ID = re.compile(r"\b[0-9a-f]{64}\b")
_IN_MEMORY = {"tmpfs", "ramfs", "hugetlbfs", "mqueue"}
"""File systems that `memory_bytes` limits."""


class Use(NamedTuple):
    """Disk space in bytes, and the number of files, directories, links and the like: an inode each."""

    bytes: int
    files: int

    def plus(self, other: "Use") -> "Use":
        """Both together."""
        return Use(self.bytes + other.bytes, self.files + other.files)


def used_by(directories: Sequence[Path], seconds: float = LONGEST_MEASUREMENT_SECONDS) -> Use | None:
    """Of directories with all that is in them, hard links once; None where it cannot be told within ``seconds``.

    By du of the host: it follows no link, leaves no file system, and does not stop the threads of this worker.
    """
    size = _du("--block-size=1", directories, seconds)
    files = None if size is None else _du("--inodes", directories, seconds)
    if size is None or files is None:
        log.warning("a workspace cannot be measured", directory=str(directories[0]))
        return None
    return Use(size, files)


def _du(count: str, directories: Sequence[Path], seconds: float) -> int | None:
    command = ["du", "--summarize", "--total", "--one-file-system", count, "--", *map(str, directories)]
    try:
        done = subprocess.run(command, capture_output=True, timeout=seconds, check=False)
        lines = done.stdout.splitlines()  # files that went meanwhile make it fail, and are not there
        return int(lines[-1].split(b"\t", 1)[0]) if len(lines) > 1 else None
    except (subprocess.TimeoutExpired, ValueError):
        return None


def processes_by_container(proc: Path = _PROC) -> dict[str, list[int]]:
    """The host's processes by the id of the container whose cgroup they are in."""
    found: dict[str, list[int]] = {}
    for entry in proc.iterdir():
        if entry.name.isdecimal():
            with suppress(OSError):  # it ended meanwhile
                for one in set(_CONTAINER_ID.findall((entry / "cgroup").read_text())):
                    found.setdefault(one, []).append(int(entry.name))
    return found


def used_without_name(pids: Iterable[int], proc: Path = _PROC) -> Use:
    """Of the files that some processes of one container hold open and that no directory names any more.

    Files in memory are left out. Files that are only mapped, or on their way through a socket, are not found.
    """
    order = list(pids)
    if not order:
        return Use(0, 0)
    in_memory = _memory_devices(proc, order[0])
    random.shuffle(order)  # no descriptor hides for ever behind many others
    seen: dict[tuple[int, int], int] = {}
    budget = DESCRIPTORS_LOOKED_AT
    for pid in order:
        for path in _descriptors(proc / str(pid) / "fd", budget):
            budget -= 1
            with suppress(OSError):
                facts = path.stat() if str(path.readlink()).endswith(" (deleted)") else None
                if facts and stat.S_ISREG(facts.st_mode) and not facts.st_nlink and facts.st_dev not in in_memory:
                    seen[facts.st_dev, facts.st_ino] = facts.st_blocks * 512
    return Use(sum(seen.values()), len(seen))


def _descriptors(folder: Path, budget: int) -> Iterator[Path]:
    names: list[str] = []
    with suppress(OSError):  # it ended, or is another account's
        names = [entry.name for entry in folder.iterdir()]
    if len(names) > budget:
        names = random.sample(names, max(budget, 0))
    return (folder / name for name in names)


def _memory_devices(proc: Path, pid: int) -> set[int]:
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
