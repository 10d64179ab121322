"""One captured stream: raw file → masked bytes → what is stored next."""

import os
import time
from collections.abc import Sequence

from relay_core.domain.logs.masking import Masker, context_bytes
from relay_workers.host_files.safe_dir import OpenFile, TamperedFile

READ_BYTES = 1 << 20
"""Read from one file in one turn, so that a flood does not keep other runs waiting."""
LINE_SEARCH_BYTES = 4 << 10
"""A turn ends at a newline, if there is one this near to where it would end."""
LINE_SECONDS = 0.1
"""A line without an end waits so long for it where both streams are in use: a shell writes a line in pieces."""


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
        """The process wrote more than is stored."""
        self.last_growth = time.monotonic()
        self._secrets = secrets
        self._line_since: float | None = None
        """When the line that waits for its end was first seen."""
        self.go_to(stored)

    def go_to(self, stored: int) -> None:
        """Go on behind the first ``stored`` bytes, whatever was read before."""
        begin = max(0, stored - context_bytes(self._secrets))
        context = os.pread(self.fd, stored - begin, begin)
        self.assigned = stored
        """Masked bytes given out: stored, or on their way."""
        self.read = stored
        """Raw bytes read."""
        if len(context) < stored - begin:
            raise TamperedFile(f"{self.name} is shorter than the {stored} bytes stored of it")
        self._line_since = None
        self._masker = Masker(self._secrets, context)

    def learn(self, secrets: Sequence[bytes]) -> None:
        """Mask these in all that is not given out yet.

        Raises:
            TamperedFile: the file is shorter than what was given out of it.
        """
        self._secrets = secrets
        self.go_to(self.assigned)

    def size(self) -> int:
        """Present size of the raw file.

        Raises:
            TamperedFile: it is shorter than what was read, or no longer in its place.
        """
        status = os.fstat(self.fd)
        if status.st_size < self.read:
            raise TamperedFile(f"{self.name} was cut from {self.read} to {status.st_size} bytes")
        if status.st_nlink != 1:
            raise TamperedFile(f"the file of {self.name} was removed or linked elsewhere")
        return status.st_size

    def has_changed(self) -> bool:
        """Whether there is anything to look at; cheap, for the slow scan."""
        status = os.fstat(self.fd)
        return status.st_size != self.read or status.st_nlink != 1

    def take(self, end: int, *, whole_lines: bool = False) -> bytes:
        """The next masked bytes towards the raw offset ``end``; empty when there are none or none is decided yet.

        With ``whole_lines`` a line without an end stays for `LINE_SECONDS`: `waits_for_line` says when to come again.
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
        """Without the line at the end that is not complete, unless it has waited long enough."""
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
        """When the line that was held back is taken, on the monotonic clock; None where none was."""
        return None if self._line_since is None else self._line_since + LINE_SECONDS

    def rest(self) -> bytes:
        """What the masker holds back; the stream ends here."""
        return self._masker.finish()

    @property
    def held(self) -> int:
        """Bytes read that the masker has not decided."""
        return self._masker.held

    def close(self) -> None:
        """Let go of the file; more than once is harmless."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1


def _to_line_end(data: bytes) -> bytes:
    """So that in `all` a line of one stream is not cut by the other."""
    newline = data.rfind(b"\n", max(0, len(data) - LINE_SEARCH_BYTES))
    return data[: newline + 1] if newline >= 0 else data
