"""An agent's output as the agent wrote it, for the reader of its protocol.

The log in Postgres is masked, and masking changes a protocol: an ordinary word that a client calls secret (`completed`,
`session_id`) is masked in the protocol's own frames too. So where stored bytes are masked, the raw file supplies the
original bytes. It stays in the run directory until the end of the execution is committed, so an adopter reads the same.

The step can write to that file. So it is trusted in masked places only, and only where all bytes around them equal the
stored ones; otherwise the reader gets the stored bytes.
"""

import os
import re
from collections.abc import Callable

from relay_workers.host_files.safe_dir import OpenFile, TamperedFile

_UNMASKED = re.compile(rb"[^*]+")


def unmasked(stored: bytes, raw: bytes) -> bytes:
    """The raw bytes, where they equal the stored bytes except in masked places; else the stored bytes."""
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
        """The stored bytes at this offset without their masks; with them where the raw file cannot be trusted."""
        if self._gone or b"*" not in stored:
            return stored
        try:
            if self._fd is None:
                self._fd = self._open_log().fd
            return unmasked(stored, self._read(self._fd, offset, len(stored)))
        except (OSError, TamperedFile):  # the capture reports that the file is missing or changed
            self._gone = True
            return stored

    def close(self) -> None:
        """Close the file; `at` opens it again."""
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None

    @staticmethod
    def _read(fd: int, offset: int, size: int) -> bytes:
        data = b""
        while len(data) < size and (piece := os.pread(fd, size - len(data), offset + len(data))):
            data += piece
        return data
