"""Writes the files of a run directory as supervise.sh does, without a real process."""

import os
from contextlib import suppress
from pathlib import Path

from relay_core.domain.vocabulary import Stream

NOT_STARTED_CODE = 114
"""The exit code of supervise.sh if the file `started` exists already."""


class FakeSupervisor:
    """Announces a start, appends output and writes the exit record, in place of supervise.sh.

    One `FakeStep` uses it, while the fake engine's lock is held.

    Args:
        directory: the run directory on the host, made by `prepare_run_dir`.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._alive: int | None = None

    def start(self) -> bool:
        """Create the file `started` and write ``s`` to the FIFO `alive`, which announces the start.

        Returns:
            False if the file exists already: the step was started before, or declared never started.
        """
        try:
            os.close(os.open(self._directory / "started", os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
        except FileExistsError:
            return False
        self._alive = os.open(self._directory / "alive", os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
        os.write(self._alive, b"s")
        return True

    def write(self, stream: Stream, data: bytes) -> None:
        """Append output to a stream's raw file, as a copier does."""
        with (self._directory / stream.value).open("ab") as file:
            file.write(data)

    def record(self, code: int) -> None:
        """Write the exit record of the step and ``x`` to the FIFO `alive`; the log may still be open."""
        self._overwrite(f"code={code}\noom_before=0\noom_after=0\ncopier=ok\nlate=\nend\n".encode())
        if self._alive is not None:
            os.write(self._alive, b"x")

    def drain(self) -> None:
        """Record that both copiers have read their input to its end."""
        head, _, _ = (self._directory / "exit").read_bytes().partition(b"end\n")
        self._overwrite(head + b"end\nstdout_copier=0\nstderr_copier=0\ndrained\n")

    def end(self) -> None:
        """Simulate the supervisor's exit: from now on, readers of the FIFO `alive` get end of file."""
        if self._alive is not None:
            os.close(self._alive)
            self._alive = None

    def _overwrite(self, record: bytes) -> None:
        with suppress(FileNotFoundError), (self._directory / "exit").open("r+b") as file:
            file.write(record)
