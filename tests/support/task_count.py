"""The number of tasks in a container, by its control group: the engine's own list takes a minute of a fork bomb."""

from pathlib import Path


def task_count(init: int) -> int:
    """Return the number of processes and threads beside a container's first process, and that one.

    Args:
        init: the host's pid of the container's first process.
    """
    for line in Path(f"/proc/{init}/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers == "pids":
            return int(Path(f"/sys/fs/cgroup/pids{path}/pids.current").read_text())
    return int(Path(f"/sys/fs/cgroup{path}/pids.current").read_text())
