"""One captured stream: from the raw file to the masked bytes that are stored next."""

import os
import time
from collections.abc import Sequence

from relay_core.domain.logs.masking import Masker, context_bytes
from relay_workers.host_files.safe_dir import OpenFile, TamperedFile

READ_BYTES = 1 << 20
"""Largest number of bytes read from one file at a time, so that a flood of output does not delay other executions."""
LINE_SEARCH_BYTES = 4 << 10
"""A read ends at a newline where there is one within so many bytes before its end."""
LINE_SECONDS = 0.1
"""Seconds for which a line without an end is held back while both streams are in use: shells write lines in pieces."""


class CapturedStream:
    """Reads a growing file by offset, for one thread.

    Args:
        name: `stdout` or `stderr`.
        file: the open raw file; closed by `close`.
        stored: bytes stored already (by an earlier owner).
        secrets: values to mask.

    Raises:
        TamperedFile: the file is shorter than what is stored of it.
    """

    def __init__(self, name: str, file: OpenFile, stored: int, secrets: Sequence[bytes]) -> None:
        self.name = name
        self.fd = file.fd
        self.file_id = file.file_id
        self.truncated = False
        """The process wrote more bytes than are stored."""
        self.last_growth = time.monotonic()
        self._secrets = secrets
        self._line_since: float | None = None
        """Time at which a line without an end was first seen, on the monotonic clock; None where there is none."""
        self.go_to(stored)

    def go_to(self, stored: int) -> None:
        """Continue behind the first ``stored`` bytes, whatever was read before.

        Raises:
            TamperedFile: the file is shorter than that.
        """
        begin = max(0, stored - context_bytes(self._secrets))
        context = os.pread(self.fd, stored - begin, begin)
        self.assigned = stored
        """Masked bytes that were given out, so that they are stored or under way."""
        self.read = stored
        """Raw bytes that were read."""
        if len(context) < stored - begin:
            raise TamperedFile(f"{self.name} is shorter than the {stored} bytes stored of it")
        self._line_since = None
        self._masker = Masker(self._secrets, context)

    def learn(self, secrets: Sequence[bytes]) -> None:
        """Mask these values in all bytes that are not given out yet.

        Raises:
            TamperedFile: the file is shorter than the bytes that were given out.
        """
        self._secrets = secrets
        self.go_to(self.assigned)

    def size(self) -> int:
        """Present size of the raw file.

        Raises:
            TamperedFile: the file is shorter than the bytes read, was removed, or has another link.
        """
        status = os.fstat(self.fd)
        if status.st_size < self.read:
            raise TamperedFile(f"{self.name} was cut from {self.read} to {status.st_size} bytes")
        if status.st_nlink != 1:
            raise TamperedFile(f"the file of {self.name} was removed or linked elsewhere")
        return status.st_size

    def has_changed(self) -> bool:
        """Whether the file has grown or changed since it was read; cheap, for the slow scan."""
        status = os.fstat(self.fd)
        return status.st_size != self.read or status.st_nlink != 1

    def take(self, end: int, *, whole_lines: bool = False) -> bytes:
        """Read the next bytes up to the raw offset ``end`` and mask them.

        Empty where there are none, or where the masker cannot decide yet. With ``whole_lines`` a line without an end is
        held back for `LINE_SECONDS`; `waits_for_line` is the time at which to call again.
        """
        if self.read >= end:
            return b""
        data = os.pread(self.fd, min(READ_BYTES, end - self.read), self.read)
        if self.read + len(data) < end:
            data = _to_line_end(data)
        elif whole_lines:
            data = self._complete(data)
        if not data:
            return b""
        self.read += len(data)
        self.last_growth = time.monotonic()
        return self._masker.feed(data)

    def _complete(self, data: bytes) -> bytes:
        """The data without an incomplete last line, unless that was held back long enough."""
        begin = data.rfind(b"\n") + 1
        now = time.monotonic()
        if begin == len(data) or len(data) - begin > LINE_SEARCH_BYTES:
            self._line_since = None
            return data
        if begin or self._line_since is None:
            self._line_since = now
        elif now - self._line_since >= LINE_SECONDS:
            self._line_since = None
            return data
        return data[:begin]

    @property
    def waits_for_line(self) -> float | None:
        """Time at which a line that is held back will be taken, on the monotonic clock; None where none is."""
        return None if self._line_since is None else self._line_since + LINE_SECONDS

    def rest(self) -> bytes:
        """The bytes that the masker holds back, masked; the stream ends here."""
        return self._masker.finish()

    def close(self) -> None:
        """Close the file; a second call does nothing."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1


def _to_line_end(data: bytes) -> bytes:
    """The data up to its last newline, where that is near, so that the other stream splits no line in `all`."""
    newline = data.rfind(b"\n", max(0, len(data) - LINE_SEARCH_BYTES))
    return data[: newline + 1] if newline >= 0 else data
