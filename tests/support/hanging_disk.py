"""File systems that stop to answer for a while: one that blocks writes, and one that answers nothing at all."""

import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from tests.support.waiting import eventually


class HangingDisk(Protocol):
    """A mounted file system."""

    directory: Path

    def hang(self) -> None:
        """Let no further request return."""

    def answer(self) -> None:
        """Let the requests that wait, and all later ones, return."""


@contextmanager
def hanging(disk: HangingDisk) -> Iterator[None]:
    """Let a disk hang while the context lasts."""
    disk.hang()
    try:
        yield
    finally:
        disk.answer()


@dataclass
class FrozenDisk:
    """An ext4 whose writes wait; it can be read."""

    directory: Path

    def hang(self) -> None:
        subprocess.run(["fsfreeze", "--freeze", self.directory], check=True)

    def answer(self) -> None:
        subprocess.run(["fsfreeze", "--unfreeze", self.directory], check=True)


@dataclass
class StoppedDisk:
    """A FUSE file system whose server is stopped: no read, write, open, close or question about a file returns."""

    directory: Path
    server: subprocess.Popen[bytes]

    def hang(self) -> None:
        os.kill(self.server.pid, signal.SIGSTOP)

    def answer(self) -> None:
        os.kill(self.server.pid, signal.SIGCONT)


@contextmanager
def frozen_disk(directory: Path) -> Iterator[FrozenDisk]:
    """A disk of 256 MiB whose writes can be made to hang, mounted at a directory beside its image."""
    image = directory.with_suffix(".img")
    with image.open("wb") as file:
        file.truncate(256 << 20)
    directory.mkdir()
    subprocess.run(["mkfs.ext4", "-q", "-F", image], check=True)
    subprocess.run(["mount", "-o", "loop", image, directory], check=True)
    try:
        yield FrozenDisk(directory)
    finally:
        subprocess.run(["umount", "--lazy", directory], check=True)


@contextmanager
def stopped_disk(directory: Path) -> Iterator[StoppedDisk]:
    """A disk that can be made to hang as a whole; its files lie in a directory beside the mount."""
    files = directory.with_name(f"{directory.name}-files")
    files.mkdir()
    directory.mkdir(exist_ok=True)
    server = subprocess.Popen(["bindfs", "-f", "-o", "attr_timeout=0,entry_timeout=0", files, directory])
    try:
        eventually(directory.is_mount, "the file system is mounted")
        yield StoppedDisk(directory, server)
    finally:
        subprocess.run(["umount", "--lazy", directory], check=False)
        server.kill()  # its requests that wait fail
        server.wait()
