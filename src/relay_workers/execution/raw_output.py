"""An agent's output as it wrote it, for whoever has to understand its protocol.

What Postgres has is masked, and a masked protocol is another one: an ordinary word that a client calls secret
(`completed`, `session_id`) would be gone from the frames too. So where stored bytes are masked, the raw file says what
was there. It stays in the run directory until the end of the execution is committed, so an adopter reads the same.

The step can write to that file. It is believed in masked places only, and only where everything around them is what
was stored: otherwise the stored bytes are what the reader gets.
"""

import os
import re
from collections.abc import Callable

from relay_workers.host_files.safe_dir import OpenFile, TamperedFile

_UNMASKED = re.compile(rb"[^*]+")


def unmasked(stored: bytes, raw: bytes) -> bytes:
    """The raw bytes, if they are those that were stored but for what is masked; else the stored ones."""
    if stored == raw or len(stored) != len(raw):
        return stored
    same = all(raw.startswith(found[0], found.start()) for found in _UNMASKED.finditer(stored))
    return raw if same else stored


class RawOutput:
    """The raw file of one stream, opened when it is first needed and closed by `close`; for one thread at a time.

    Args:
        open_log: opens the file.
    """

    def __init__(self, open_log: Callable[[], OpenFile]) -> None:
        self._open_log = open_log
        self._fd: int | None = None
        self._gone = False

    def at(self, offset: int, stored: bytes) -> bytes:
        """What the process wrote where `stored` is; the same without its masks, or the same."""
        if self._gone or b"*" not in stored:
            return stored
        try:
            if self._fd is None:
                self._fd = self._open_log().fd
            return unmasked(stored, self._read(self._fd, offset, len(stored)))
        except (OSError, TamperedFile):  # the capture says what is wrong with it
            self._gone = True
            return stored

    def close(self) -> None:
        """Let go of the file; it is opened again when it is needed again."""
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None

    @staticmethod
    def _read(fd: int, offset: int, size: int) -> bytes:
        data = b""
        while len(data) < size and (piece := os.pread(fd, size - len(data), offset + len(data))):
            data += piece
        return data
