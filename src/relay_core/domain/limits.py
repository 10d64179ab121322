"""The limits of a workspace and its executions: names, units, defaults. Settings hold their maxima (docs/limits.md)."""

from dataclasses import dataclass, fields

from relay_core.domain.errors import InvalidInput

BYTES_PER_FILE = 16 << 10
"""Bytes of a disk limit for each file that it allows: ext4 makes one inode for so many bytes by default."""
LEAST_FILES = 20_000
"""Number of files that every workspace may have, however small its disk limit is."""


def files_for(disk_bytes: int) -> int:
    """Return the most files of a workspace with that disk limit: one for each 16 KiB, at least 20,000."""
    return max(LEAST_FILES, disk_bytes // BYTES_PER_FILE)


@dataclass(frozen=True)
class Limits:
    """Limits of a workspace's container and of each of its executions.

    Beyond some limits the execution ends; the texts of those name the `Reason` with which it ends.
    """

    memory_bytes: int = 2 << 30
    """Memory of the container in bytes, without swap. Beyond it the kernel kills a process: reason `oom`."""
    cpus: float = 2.0
    """Number of processors; the container is slowed down beyond it."""
    pids: int = 1024
    """Number of processes and threads in the container; beyond it a fork fails."""
    nofile: int = 65536
    """Number of files that one process may have open; beyond it an open fails."""
    timeout_seconds: int = 3600
    """Wall-clock seconds of one execution; dev servers have no timeout. Beyond it: reason `timeout`."""
    no_output_seconds: int = 0
    """Longest time without output of an execution, in seconds; 0: no limit. Beyond it: reason `no_output`."""
    log_bytes: int = 1 << 30
    """Bytes of stdout and stderr of one execution together; no more are stored. Beyond it: reason `log_limit`."""
    disk_bytes: int = 20 << 30
    """Bytes on disk: workspace directory, container layer, deleted open files. Beyond it: reason `disk_limit`."""
    kill_grace_seconds: float = 10
    """Seconds between SIGTERM and SIGKILL when an execution is killed."""

    @property
    def disk_files(self) -> int:
        """Most files, directories and links of the workspace. Beyond it: reason `disk_limit`."""
        return files_for(self.disk_bytes)

    @classmethod
    def from_request(cls, wanted: dict[str, object], maxima: "dict[str, float]") -> "Limits":
        """Return the defaults, with ``wanted`` in place of those it names; refuse values out of bounds.

        A default that is above its maximum is lowered to the maximum.

        Args:
            wanted: values by name of the limit, as the client sent them.
            maxima: largest values that the server allows, by name of the limit.

        Raises:
            InvalidInput: an unknown name, a wrong kind, or a value out of bounds; the message names the bound.
        """
        known = {field.name: field for field in fields(cls)}
        values: dict[str, float] = {}
        for name, value in wanted.items():
            if name not in known:
                raise InvalidInput(
                    f"limits.{name} is not a limit; there are: {', '.join(known)}", field=f"limits.{name}"
                )
            if isinstance(value, bool) or not isinstance(value, int | float):
                raise InvalidInput(f"limits.{name} must be a number", field=f"limits.{name}")
            low = 0 if name in {"no_output_seconds", "kill_grace_seconds"} else MINIMA.get(name, 1)
            high = maxima.get(name)
            if value < low or (high is not None and value > high):
                bound = f"at least {low}" if high is None else f"between {low} and {high}"
                raise InvalidInput(f"limits.{name} must be {bound} on this server", field=f"limits.{name}")
            values[name] = value if name in {"cpus", "kill_grace_seconds"} else int(value)
        return cls(**{**_within(maxima), **values})  # type: ignore[arg-type]

    @classmethod
    def from_row(cls, row: dict[str, float]) -> "Limits":
        """Return the limits from stored JSON; names that this version does not know are ignored."""
        names = {field.name for field in fields(cls)}
        return cls(**{name: value for name, value in row.items() if name in names})  # type: ignore[arg-type]


MINIMA: dict[str, float] = {"memory_bytes": 16 << 20, "cpus": 0.01, "pids": 16, "nofile": 64, "disk_bytes": 1 << 20}
"""Least values by name; with less no step can start."""
FIXED_MAXIMA: dict[str, float] = {"nofile": 1 << 20, "no_output_seconds": 7 * 86400, "kill_grace_seconds": 600}
"""Largest values by name that hold on every server."""


def _within(maxima: dict[str, float]) -> dict[str, float]:
    """Return the maxima that are below the default of their limit; they replace the default."""
    default = Limits()
    return {name: high for name, high in maxima.items() if getattr(default, name) > high}
