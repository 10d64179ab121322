"""The files of one start of an execution: its logs and its record, in a directory that no container sees.

They lie in ``<data_dir>/executions/<execution>/<fence>/``:

- ``stdout`` and ``stderr``: the logs, which relay-pid1 writes;
- ``record``: the record of start and end (`containers.pid1.record`), which relay-pid1 writes and holds under a lock.

The step gets no descriptor of these files, so it can neither read nor change them.
"""

import fcntl
import os
import shutil
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

from relay_core.domain.vocabulary import Stream
from relay_workers.containers.pid1 import record
from relay_workers.containers.pid1.messages import Key
from relay_workers.containers.pid1.record import Record
from relay_workers.containers.pid1.step import StepFiles
from relay_workers.host_files.safe_dir import OpenFile, SafeDir

FOLDER = "executions"
"""The name of the directory below the data directory."""
_RECORD = "record"
_WRITE = os.O_WRONLY | os.O_CLOEXEC | os.O_NOFOLLOW


@dataclass(frozen=True)
class RunFiles:
    """Names the files of one start of an execution, and gives access to them; keeps no file open."""

    data_dir: Path
    """The data directory of the node."""
    execution_id: UUID
    fence: int
    """The fence of the owner that starts the process. Each owner that starts it again has another directory."""

    @property
    def key(self) -> Key:
        """The name of this start in requests to relay-pid1."""
        return Key(self.execution_id, self.fence)

    @property
    def directory(self) -> Path:
        """The directory of the files on the node."""
        return self.data_dir / FOLDER / str(self.execution_id) / str(self.fence)

    def create(self) -> None:
        """Make the files of a start that has not happened.

        Raises:
            FileExistsError: they exist.
            OSError: the disk is full, or the worker may not write there.
        """
        self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        for stream in (Stream.STDOUT, Stream.STDERR):
            os.close(os.open(self.directory / stream.value, _WRITE | os.O_CREAT | os.O_EXCL, 0o600))
        os.close(record.create(self.directory / _RECORD, self.key))

    def open_for_start(self, closing: ExitStack) -> StepFiles:
        """Open the files for relay-pid1; the record is locked until the last copy of its descriptor is closed.

        Args:
            closing: closes the descriptors of this process.

        Raises:
            OSError: a file is gone.
        """

        def opened(name: str) -> int:
            fd = os.open(self.directory / name, _WRITE)
            closing.callback(os.close, fd)
            return fd

        held = opened(_RECORD)
        fcntl.flock(held, fcntl.LOCK_EX)  # a reader may hold it for an instant (`record.is_held`)
        return StepFiles(held, opened(Stream.STDOUT), opened(Stream.STDERR))

    def open_log(self, stream: Stream) -> OpenFile:
        """Open a log for reading; the caller closes the descriptor.

        Raises:
            FileNotFoundError: the log was removed.
            TamperedFile: it is no regular file with one link.
        """
        with SafeDir.open(self.directory) as directory:
            return directory.open_file(stream.value)

    def open_record(self) -> int:
        """Open the record for reading; the caller closes the descriptor.

        Raises:
            FileNotFoundError: the record was removed, or never made.
        """
        return os.open(self.directory / _RECORD, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)

    def read_record(self) -> Record | None:
        """Return the record; None if there is no such file, so that nothing was started.

        Raises:
            MalformedMessage: the file is no record.
        """
        with suppress(FileNotFoundError):
            return record.read(self.directory / _RECORD)
        return None

    def append(self, stream: Stream, data: bytes) -> None:
        """Append a message of Relay to a log that relay-pid1 writes no more.

        Raises:
            OSError: the log was removed, or the disk is full.
        """
        fd = os.open(self.directory / stream.value, _WRITE | os.O_APPEND)
        try:
            os.write(fd, data)
        finally:
            os.close(fd)

    def remove(self) -> None:
        """Remove the files; do nothing if they do not exist.

        Raises:
            OSError: an entry cannot be removed.
        """
        with suppress(FileNotFoundError):
            shutil.rmtree(self.directory)
        with suppress(OSError):  # files of other starts are left
            self.directory.parent.rmdir()


def remove_files(data_dir: Path, execution_id: UUID) -> None:
    """Remove the files of all starts of an execution; do nothing if there are none.

    Raises:
        OSError: an entry cannot be removed.
    """
    with suppress(FileNotFoundError):
        shutil.rmtree(data_dir / FOLDER / str(execution_id))


def executions_with_files(data_dir: Path) -> list[UUID]:
    """Return the executions that have files on this node."""
    found = []
    with suppress(FileNotFoundError):
        for name in os.listdir(data_dir / FOLDER):  # noqa: PTH208 - each sweep lists up to a thousand names
            with suppress(ValueError):
                found.append(UUID(name))
    return found
