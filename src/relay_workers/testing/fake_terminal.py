"""The terminal of a step in a fake container: a real one, whose output is copied into the step's log."""

import fcntl
import os
import struct
import termios
import threading
from collections.abc import Callable

from relay_workers.containers.pid1.step import TerminalSize


class FakeTerminal:
    """A terminal with an echo and nothing that reads from it.

    Args:
        size: its first size.
        copy: gets the output, on another thread.
    """

    def __init__(self, size: TerminalSize, copy: Callable[[bytes], None]) -> None:
        self._master, self._slave = os.openpty()
        self.resize(size)
        self._copy = copy
        self._thread = threading.Thread(target=self._loop, name="fake-terminal", daemon=True)
        self._thread.start()

    def master(self) -> int:
        """Return a descriptor of its master, which the caller closes."""
        return os.dup(self._master)

    def resize(self, size: TerminalSize) -> None:
        """Change its size."""
        fcntl.ioctl(self._master, termios.TIOCSWINSZ, struct.pack("HHHH", size.rows, size.columns, 0, 0))

    def write(self, data: bytes) -> None:
        """Write output of the step."""
        os.write(self._slave, data)

    def close(self) -> None:
        """Copy the rest of the output and close the terminal. A second call does nothing."""
        if self._slave >= 0:
            os.close(self._slave)
            self._slave = -1
            self._thread.join()
            os.close(self._master)

    def _loop(self) -> None:
        try:
            while data := os.read(self._master, 4096):
                self._copy(data)
        except OSError:  # EIO: the other side is closed
            return
