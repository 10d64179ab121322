"""The supervisor's side of a run directory, as supervise.sh writes it, without a process."""

import os
from contextlib import suppress
from pathlib import Path

from relay_core.domain.vocabulary import Stream

NOT_STARTED_CODE = 114
"""supervise.sh exits with it where `started` exists already."""


class FakeSupervisor:
    """Announces a start, appends output and writes the exit record; used by one `FakeStep` under its engine's lock.

    Args:
        directory: the run directory on the host, made by `prepare_run_dir`.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._alive: int | None = None

    def start(self) -> bool:
        """Take the name `started` and say ``s``; False where the step was started, or ruled out, before."""
        try:
            os.close(os.open(self._directory / "started", os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
        except FileExistsError:
            return False
        self._alive = os.open(self._directory / "alive", os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
        os.write(self._alive, b"s")
        return True

    def write(self, stream: Stream, data: bytes) -> None:
        """Append output, as a copier does."""
        with (self._directory / stream.value).open("ab") as file:
            file.write(data)

    def record(self, code: int) -> None:
        """Write the exit record of the step and say ``x``; the log may still be held."""
        self._overwrite(f"code={code}\noom_before=0\noom_after=0\ncopier=ok\nlate=\nend\n".encode())
        if self._alive is not None:
            os.write(self._alive, b"x")

    def drain(self) -> None:
        """Record that both copiers have reached the end of their input."""
        head, _, _ = (self._directory / "exit").read_bytes().partition(b"end\n")
        self._overwrite(head + b"end\nstdout_copier=0\nstderr_copier=0\ndrained\n")

    def end(self) -> None:
        """End the process: readers of `alive` get the end of file from now on."""
        if self._alive is not None:
            os.close(self._alive)
            self._alive = None

    def _overwrite(self, record: bytes) -> None:
        with suppress(FileNotFoundError), (self._directory / "exit").open("r+b") as file:
            file.write(record)
