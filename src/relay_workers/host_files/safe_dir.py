"""Reading below paths that a container can write, without following or executing anything (docs/threat-model.md).

A container may plant symlinks, FIFOs, hard links, devices and sparse giants. So every path below a trusted root is
walked one component at a time by directory descriptor with ``O_NOFOLLOW``, files are opened with ``O_NONBLOCK`` (a FIFO
without a writer would hang the open), and only a regular file with one link is accepted.
"""

import os
import stat
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

from relay_core.domain.errors import StepFailed
from relay_core.domain.vocabulary import Reason

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC


class TamperedFile(StepFailed):
    """A file that Relay reads is not what Relay made: a link, a device, another inode, or shorter than before."""

    def __init__(self, message: str) -> None:
        super().__init__(Reason.LOG_TAMPERED, message)


class FileId(NamedTuple):
    """What makes a file the same file again."""

    device: int
    inode: int


class OpenFile(NamedTuple):
    """An open descriptor (the caller closes it) and the identity of what it points at."""

    fd: int
    file_id: FileId


class SafeDir:
    """A directory held by descriptor; a context manager that closes it."""

    def __init__(self, fd: int, path: str) -> None:
        self._fd = fd
        self.path = path
        """For messages only; never opened."""

    @classmethod
    def open(cls, trusted_root: Path, *parts: str) -> Self:
        """Open ``trusted_root`` (a path no container can change) and walk ``parts`` below it.

        Raises:
            FileNotFoundError: a component does not exist.
            TamperedFile: a component is a symlink or no directory.
        """
        here = cls(os.open(trusted_root, _DIRECTORY & ~os.O_NOFOLLOW), str(trusted_root))
        for part in parts:
            with here:
                here = here.sub(part)
        return here

    def sub(self, name: str) -> Self:
        """Open the directory ``name`` directly below."""
        _check_name(name)
        try:
            fd = os.open(name, _DIRECTORY, dir_fd=self._fd)
        except NotADirectoryError as error:  # also what O_DIRECTORY|O_NOFOLLOW says of a symlink
            raise TamperedFile(f"{self.path}/{name} is not a directory of its own") from error
        return type(self)(fd, f"{self.path}/{name}")

    def open_file(self, name: str, expect: FileId | None = None) -> OpenFile:
        """Open a regular file with one link for reading; with ``expect``, only that very file.

        Raises:
            FileNotFoundError: there is none.
            TamperedFile: it is something else, or another file than expected.
        """
        fd = self._open(name)
        status = os.fstat(fd)
        found = FileId(status.st_dev, status.st_ino)
        wrong = None
        if not stat.S_ISREG(status.st_mode):
            wrong = "is not a regular file"
        elif status.st_nlink != 1:
            wrong = f"has {status.st_nlink} links"
        elif expect is not None and found != expect:
            wrong = "was replaced by another file"
        if wrong:
            os.close(fd)
            raise TamperedFile(f"{self.path}/{name} {wrong}")
        return OpenFile(fd, found)

    def open_fifo(self, name: str) -> int:
        """Open a FIFO for reading without waiting for a writer.

        Raises:
            FileNotFoundError: there is none.
            TamperedFile: it is something else.
        """
        fd = self._open(name)
        if not stat.S_ISFIFO(os.fstat(fd).st_mode):
            os.close(fd)
            raise TamperedFile(f"{self.path}/{name} is not a FIFO")
        return fd

    def read_bytes(self, name: str, limit: int) -> bytes:
        """The whole of a regular file of at most ``limit`` bytes.

        Raises:
            FileNotFoundError: there is none.
            TamperedFile: it is no regular file of one link, or longer than ``limit``.
        """
        fd, _ = self.open_file(name)
        with os.fdopen(fd, "rb") as file:
            data = file.read(limit + 1)
        if len(data) > limit:
            raise TamperedFile(f"{self.path}/{name} is longer than {limit} bytes")
        return data

    def make_directory(self, name: str, mode: int = 0o755) -> bool:
        """Make a directory; False where anything of that name already exists."""
        _check_name(name)
        try:
            os.mkdir(name, mode, dir_fd=self._fd)
        except FileExistsError:
            return False
        return True

    def exists(self, name: str) -> bool:
        """Whether there is anything of that name, a dangling link included."""
        _check_name(name)
        try:
            os.lstat(name, dir_fd=self._fd)
        except FileNotFoundError:
            return False
        return True

    def unlink(self, name: str) -> None:
        """Remove a non-directory; nothing happens when it is not there."""
        _check_name(name)
        try:
            os.unlink(name, dir_fd=self._fd)
        except FileNotFoundError:
            return

    def names(self) -> list[str]:
        """The names in it, unordered."""
        return os.listdir(self._fd)

    def fileno(self) -> int:
        """The descriptor, for calls with ``dir_fd``; it stays this object's."""
        return self._fd

    def close(self) -> None:
        """Let go of the descriptor; more than once is harmless."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _open(self, name: str) -> int:
        _check_name(name)
        try:
            return os.open(name, _FILE, dir_fd=self._fd)
        except FileNotFoundError:
            raise
        except OSError as error:  # ELOOP for a symlink, ENXIO for a socket
            raise TamperedFile(f"{self.path}/{name} cannot be opened as a file of its own: {error.strerror}") from error


def _check_name(name: str) -> None:
    if name in {"", ".", ".."} or "/" in name or "\0" in name:
        raise TamperedFile(f"{name!r} is not the name of a directory entry")
