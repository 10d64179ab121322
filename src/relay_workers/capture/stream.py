"""Reads one captured stream from its raw file and masks the secrets in it."""

import os
import time
from collections.abc import Sequence

from relay_core.domain.logs.masking import Masker, context_bytes
from relay_workers.host_files.safe_dir import OpenFile, TamperedFile

READ_BYTES = 1 << 20
"""The maximum number of bytes read from one file at a time, so that large output does not delay other executions."""
LINE_SEARCH_BYTES = 4 << 10
"""A read ends after its last newline if that is within this many bytes of its end."""
LINE_SECONDS = 0.1
"""Seconds for which an incomplete line is held back while both streams have output: shells write lines in pieces."""


class CapturedStream:
    """Reads a growing file by offset and masks secrets; for use by one thread.

    Args:
        name: `stdout` or `stderr`.
        file: the open raw file; `close` closes it.
        stored: the number of bytes that an earlier owner has stored already.
        secrets: the values to mask.

    Raises:
        TamperedFile: the file is shorter than its stored part.
    """

    def __init__(self, name: str, file: OpenFile, stored: int, secrets: Sequence[bytes]) -> None:
        self.name = name
        self.fd = file.fd
        self.file_id = file.file_id
        self.truncated = False
        """Whether the process wrote more bytes than are stored."""
        self.last_growth = time.monotonic()
        self.seen = stored
        """The size of the raw file at the last look."""
        self._secrets = secrets
        self._line_since: float | None = None
        """The monotonic time at which an incomplete line was first seen; None if there is none."""
        self.go_to(stored)

    def go_to(self, stored: int) -> None:
        """Continue reading after the first ``stored`` bytes, whatever was read before.

        Raises:
            TamperedFile: the file is shorter than that.
        """
        begin = max(0, stored - context_bytes(self._secrets))
        context = os.pread(self.fd, stored - begin, begin)
        self.assigned = stored
        """The number of masked bytes returned for storing, stored already or not."""
        self.read = stored
        """The number of raw bytes read."""
        if len(context) < stored - begin:
            raise TamperedFile(f"{self.name} is shorter than the {stored} bytes stored of it")
        self._line_since = None
        self._masker = Masker(self._secrets, context)

    def set_secrets(self, secrets: Sequence[bytes]) -> None:
        """Mask these values in all bytes that were not returned for storing yet.

        Raises:
            TamperedFile: the file is shorter than the bytes that were returned.
        """
        self._secrets = secrets
        self.go_to(self.assigned)

    def size(self) -> int:
        """Return the current size of the raw file.

        Raises:
            TamperedFile: the file is shorter than the bytes read, was removed, or has another link.
        """
        status = self._status()
        if status.st_size < self.read:
            raise TamperedFile(f"{self.name} was cut from {self.read} to {status.st_size} bytes")
        if status.st_nlink != 1:
            raise TamperedFile(f"the file of {self.name} was removed or linked elsewhere")
        return status.st_size

    def has_changed(self) -> bool:
        """Return whether the file has grown or changed since it was read; cheap enough for the scan of all files."""
        status = self._status()
        return status.st_size != self.read or status.st_nlink != 1

    def _status(self) -> os.stat_result:
        status = os.fstat(self.fd)
        self.seen = status.st_size
        return status

    def take(self, end: int, *, whole_lines: bool = False) -> bytes:
        """Read the next bytes up to the raw offset ``end`` and return them masked.

        The result is empty if there are no bytes, or if the masker cannot decide yet whether they belong to a secret.

        Args:
            end: the offset in the raw file at which to stop.
            whole_lines: if True, an incomplete last line is held back for `LINE_SECONDS`. Call again at
                `waits_for_line`.
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
        """Return the data without an incomplete last line, unless that line was held back long enough."""
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
        """The monotonic time at which a held-back incomplete line is taken anyway; None if no line is held back."""
        return None if self._line_since is None else self._line_since + LINE_SECONDS

    def rest(self) -> bytes:
        """End the stream: return the bytes that the masker still holds back, masked."""
        return self._masker.finish()

    def close(self) -> None:
        """Close the file; a second call does nothing."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1


def _to_line_end(data: bytes) -> bytes:
    """Return the data up to its last newline if that is near the end, else all of it.

    This keeps the other stream from splitting a line in the combined stream `all`.
    """
    newline = data.rfind(b"\n", max(0, len(data) - LINE_SEARCH_BYTES))
    return data[: newline + 1] if newline >= 0 else data
