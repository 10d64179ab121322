"""Reads an agent's output exactly as the agent wrote it, for the parser of its protocol.

The log in Postgres is masked, and masking can break a protocol: if a client declares an ordinary word such as
`completed` or `session_id` to be a secret, that word is also masked in the protocol's own messages. So where stored
bytes are masked, the raw log file supplies the original ones. It stays on the node until the end of the
execution is committed, so a worker that takes the execution over reads the same bytes.

Its bytes are used only in masked places, and only if all bytes around these equal the stored ones; otherwise the stored
bytes are used.
"""

import os
import re
from collections.abc import Callable

from relay_workers.host_files.safe_dir import OpenFile, TamperedFile

_UNMASKED = re.compile(rb"[^*]+")


def unmasked(stored: bytes, raw: bytes) -> bytes:
    """Return the raw bytes if they differ from the stored ones in masked places only; otherwise the stored bytes."""
    if stored == raw or len(stored) != len(raw):
        return stored
    same = all(raw.startswith(found[0], found.start()) for found in _UNMASKED.finditer(stored))
    return raw if same else stored


class RawOutput:
    """Reads the raw log file of one stream, which it opens when first needed. Not safe to use from several threads.

    Args:
        open_log: opens the file.
    """

    def __init__(self, open_log: Callable[[], OpenFile]) -> None:
        self._open_log = open_log
        self._fd: int | None = None
        self._gone = False

    def at(self, offset: int, stored: bytes) -> bytes:
        """Return the original of the stored bytes, or the stored bytes themselves if the raw file is not usable.

        Args:
            offset: the position of the bytes in the stream.
            stored: the stored bytes, in which secrets are masked.
        """
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
