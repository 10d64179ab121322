"""What one run may use: names, units, defaults; a server's maxima are settings (docs/limits.md)."""

from dataclasses import dataclass, fields

from relay_core.domain.errors import InvalidInput

BYTES_PER_FILE = 16 << 10
"""What ext4 lays out an inode for: whose share of the disk's bytes is used up has used up its share of inodes."""
LEAST_FILES = 20_000


def files_for(disk_bytes: int) -> int:
    """The files that go with so much disk space: one for each 16 KiB, at least 20,000."""
    return max(LEAST_FILES, disk_bytes // BYTES_PER_FILE)


@dataclass(frozen=True)
class Limits:
    """Caps of a workspace's container and of each of its executions; every one has a named end."""

    memory_bytes: int = 2 << 30
    """Memory of the container, swap included (there is none); beyond it the kernel ends a process: `oom`."""
    cpus: float = 2.0
    """Processors' worth of time; a process that wants more is slowed."""
    pids: int = 1024
    """Processes and threads; beyond it a fork fails."""
    nofile: int = 65536
    """Open files of one process; beyond it an open fails."""
    timeout_seconds: int = 3600
    """Wall clock of one execution (dev servers excepted); beyond it: `timeout`."""
    no_output_seconds: int = 0
    """Longest silence of one execution, 0 for any; beyond it: `no_output`."""
    log_bytes: int = 1 << 30
    """Stored bytes of stdout and stderr together, of one execution; storing stops exactly there: `log_limit`."""
    disk_bytes: int = 20 << 30
    """Disk space of the workspace: directory, layer of its container, files without a name; beyond it: `disk_limit`."""
    kill_grace_seconds: float = 10
    """Between TERM and KILL."""

    @property
    def disk_files(self) -> int:
        """Files of the workspace, directories and links too; beyond it: `disk_limit`."""
        return files_for(self.disk_bytes)

    @classmethod
    def from_request(cls, wanted: dict[str, object], maxima: "dict[str, float]") -> "Limits":
        """Defaults overlaid by ``wanted``, checked against the server's ``maxima`` (name → largest value).

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
        """Back from the stored JSON; names a later version dropped are ignored."""
        names = {field.name for field in fields(cls)}
        return cls(**{name: value for name, value in row.items() if name in names})  # type: ignore[arg-type]


MINIMA: dict[str, float] = {"memory_bytes": 16 << 20, "cpus": 0.01, "pids": 16, "nofile": 64, "disk_bytes": 1 << 20}
"""Below these no step can start at all."""


def _within(maxima: dict[str, float]) -> dict[str, float]:
    """Defaults that a small server's maxima cut."""
    default = Limits()
    return {name: high for name, high in maxima.items() if getattr(default, name) > high}
