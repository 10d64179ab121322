"""Safe access to files in directories to which a container can write; links are never followed (docs/threat-model.md).

A container may create symlinks, FIFOs, hard links, devices and huge sparse files there. So this module opens every path
below a trusted root one component at a time, by directory descriptor and with ``O_NOFOLLOW``. It opens files with
``O_NONBLOCK`` (opening a FIFO without a writer would block) and accepts only regular files with one link.
"""

import os
import stat
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

from relay_core.domain.errors import StepFailed
from relay_core.domain.vocabulary import Reason

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC


class TamperedFile(StepFailed):
    """A file is not the one that Relay created, or its content was changed.

    For example, the path now leads to a link, a device or another inode, or the file is shorter than before.
    """

    def __init__(self, message: str) -> None:
        super().__init__(Reason.LOG_TAMPERED, message)


class FileId(NamedTuple):
    """Identity of a file, to check on the next opening that the path still leads to the same file."""

    device: int
    inode: int


class OpenFile(NamedTuple):
    """An open file: its descriptor, which the caller must close, and its identity."""

    fd: int
    file_id: FileId


class SafeDir:
    """An open directory. Use it as a context manager, which closes the descriptor at the end, or call `close`.

    Args:
        fd: open descriptor of the directory; the new object closes it.
        path: path of the directory for messages.
    """

    def __init__(self, fd: int, path: str) -> None:
        self._fd = fd
        self.path = path
        """Path of the directory, used only in messages and never opened."""

    @classmethod
    def open(cls, trusted_root: Path, *parts: str) -> Self:
        """Open a directory.

        Args:
            trusted_root: a path that no container can change; links in it are followed.
            parts: the names of the directories below `trusted_root` that lead to the directory.

        Raises:
            FileNotFoundError: a component does not exist.
            TamperedFile: one of `parts` is a symlink or is not a directory.
        """
        here = cls(os.open(trusted_root, _DIRECTORY & ~os.O_NOFOLLOW), str(trusted_root))
        for part in parts:
            with here:
                here = here.sub(part)
        return here

    def sub(self, name: str) -> Self:
        """Open the directory ``name`` in this directory.

        Raises:
            FileNotFoundError: the directory does not exist.
            TamperedFile: the entry is a symlink or is not a directory.
        """
        _check_name(name)
        try:
            fd = os.open(name, _DIRECTORY, dir_fd=self._fd)
        except NotADirectoryError as error:  # also the error of O_DIRECTORY|O_NOFOLLOW for a symlink
            raise TamperedFile(f"{self.path}/{name} is not a directory of its own") from error
        return type(self)(fd, f"{self.path}/{name}")

    def open_file(self, name: str, expect: FileId | None = None, *, writable: bool = False) -> OpenFile:
        """Open a regular file with one link for reading; the caller closes the descriptor.

        Args:
            name: name of the file in this directory.
            expect: identity that the file must have; None accepts any.
            writable: whether to open it for writing, too. Nothing of it is changed by that.

        Raises:
            FileNotFoundError: there is no entry of this name.
            TamperedFile: the entry is not a regular file, has several links, or is not the expected file.
        """
        fd = self._open(name, os.O_RDWR if writable else os.O_RDONLY)
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
        """Open a FIFO for reading without waiting for a writer; return the descriptor, which the caller must close.

        Raises:
            FileNotFoundError: there is no entry of this name.
            TamperedFile: the entry is not a FIFO.
        """
        fd = self._open(name)
        if not stat.S_ISFIFO(os.fstat(fd).st_mode):
            os.close(fd)
            raise TamperedFile(f"{self.path}/{name} is not a FIFO")
        return fd

    def read_bytes(self, name: str, limit: int) -> bytes:
        """Return the whole content of a regular file of at most ``limit`` bytes.

        Raises:
            FileNotFoundError: there is no entry of this name.
            TamperedFile: the entry is not a regular file with one link, or is longer than ``limit``.
        """
        fd, _ = self.open_file(name)
        with os.fdopen(fd, "rb") as file:
            data = file.read(limit + 1)
        if len(data) > limit:
            raise TamperedFile(f"{self.path}/{name} is longer than {limit} bytes")
        return data

    def write_file(self, name: str, data: bytes, owner: int | None = None, mode: int = 0o644) -> None:
        """Create a file, in place of any entry of this name that is no directory.

        Args:
            name: name of the file in this directory.
            data: its content.
            owner: user id that the file belongs to; None: the user of this process.
            mode: its permissions.

        Raises:
            TamperedFile: the entry is a directory, or a container made it anew at the same time.
        """
        with os.fdopen(self.new_file(name, owner, mode), "wb") as file:
            file.write(data)

    def new_file(self, name: str, owner: int | None = None, mode: int = 0o644) -> int:
        """Create an empty file as `write_file` does; return its descriptor, which the caller must close."""
        try:
            self.unlink(name)
            fd = os.open(name, _NEW_FILE, mode, dir_fd=self._fd)
        except (IsADirectoryError, PermissionError, FileExistsError) as error:
            raise TamperedFile(f"{self.path}/{name} cannot be made anew: {error.strerror}") from error
        os.fchmod(fd, mode)
        if owner is not None:
            os.fchown(fd, owner, -1)
        return fd

    def make_directory(self, name: str, mode: int = 0o755) -> bool:
        """Create a directory and return True; return False if an entry of this name, of any type, exists."""
        _check_name(name)
        try:
            os.mkdir(name, mode, dir_fd=self._fd)
        except FileExistsError:
            return False
        return True

    def exists(self, name: str) -> bool:
        """Return whether there is an entry of this name, of any type; also True for a link without target."""
        _check_name(name)
        try:
            os.lstat(name, dir_fd=self._fd)
        except FileNotFoundError:
            return False
        return True

    def unlink(self, name: str) -> None:
        """Remove an entry that is not a directory; do nothing if there is no entry of this name."""
        _check_name(name)
        try:
            os.unlink(name, dir_fd=self._fd)
        except FileNotFoundError:
            return

    def names(self) -> list[str]:
        """Return the names of the entries, in no particular order."""
        return os.listdir(self._fd)

    def fileno(self) -> int:
        """Return the directory's descriptor, for calls with ``dir_fd``; the caller must not close it."""
        return self._fd

    def close(self) -> None:
        """Close the descriptor; do nothing if it is closed already."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _open(self, name: str, access: int = os.O_RDONLY) -> int:
        _check_name(name)
        try:
            return os.open(name, _FILE | access, dir_fd=self._fd)
        except FileNotFoundError:
            raise
        except OSError as error:  # ELOOP for a symlink, ENXIO for a socket
            raise TamperedFile(f"{self.path}/{name} cannot be opened as a file of its own: {error.strerror}") from error


def _check_name(name: str) -> None:
    if name in {"", ".", ".."} or "/" in name or "\0" in name:
        raise TamperedFile(f"{name!r} is not the name of a directory entry")
