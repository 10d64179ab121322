"""Writes the log and the record of a step as relay-pid1 does (docs/pid1-protocol.md), without a real process."""

import os
import struct
import time
from contextlib import ExitStack

from relay_core.domain.vocabulary import Stream
from relay_workers.containers.pid1.answers import EndFlag, How
from relay_workers.containers.run_files import RunFiles

_STARTED, _STARTED_AT = struct.Struct("<IIQQq"), 64
_ENDED, _ENDED_AT = struct.Struct("<IIIIIIQQq"), 128
_DRAINED, _DRAINED_AT = struct.Struct("<IIQQIIQQII"), 256

NO_FLAGS = EndFlag(0)


class FakeRecord:
    """Holds the files of one step from its start on, as relay-pid1 does. One thread at a time uses it.

    Args:
        files: the files, made by `RunFiles.create`.
    """

    def __init__(self, files: RunFiles) -> None:
        self._open = ExitStack()
        held = files.open_for_start(self._open)
        self._record = held.record
        self._logs = {Stream.STDOUT: held.stdout, Stream.STDERR: held.stderr}

    def start(self, pid: int = 7) -> None:
        """Record that the step has started."""
        os.pwrite(self._record, _STARTED.pack(1, pid, time.monotonic_ns(), time.time_ns(), 0), _STARTED_AT)

    def write(self, stream: Stream, data: bytes) -> None:
        """Write output of the step."""
        fd = self._logs[stream]
        assert fd is not None  # noqa: S101 - `open_for_start` opens both
        while data:
            data = data[os.write(fd, data) :]

    def write_stdout(self, data: bytes) -> None:
        """Write output of the step's terminal."""
        self.write(Stream.STDOUT, data)

    def end(self, how: How, value: int, flags: EndFlag = NO_FLAGS, oom_kills: int = 0) -> None:
        """Record the end of the step's process; its log may still be written."""
        times = (time.monotonic_ns(), time.time_ns())
        os.pwrite(self._record, _ENDED.pack(1, how, value, 0, flags, 0, *times, oom_kills), _ENDED_AT)

    def drain(self, dropped: int = 0) -> None:
        """Record that nothing more is written, and close the files."""
        os.pwrite(self._record, _DRAINED.pack(1, 0, 0, dropped, 0, 0, 0, 0, 0, 0), _DRAINED_AT)
        self.close()

    def close(self) -> None:
        """Close the files; without `drain`, as after the end of the container. A second call does nothing."""
        self._open.close()
