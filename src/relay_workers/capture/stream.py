"""One captured stream: raw file → masked bytes → what is stored."""

import hashlib
import os
from collections.abc import Iterator, Sequence
from typing import Any

from relay_core.domain.masking import Masker, context_bytes
from relay_workers.hostfs import OpenFile, Tampered

READ_BYTES = 1 << 20
"""Read from one file in one round, so that a flood does not keep other runs waiting."""
LINE_SEARCH_BYTES = 4 << 10
"""A round that does not reach the end of the file ends at a newline, if there is one this near."""


class CapturedStream:
    """Reads a growing file by offset and says what has to be stored next.

    Args:
        name: `stdout` or `stderr`.
        file: the open raw file; closed by `close`.
        stored: bytes stored already (by an earlier owner).
        secrets: values to mask.
    """

    def __init__(self, name: str, file: OpenFile, stored: int, secrets: Sequence[bytes]) -> None:
        self.name = name
        self.fd = file.fd
        self.stored = stored
        """Bytes in Postgres: the offset of `pending`."""
        self.pending = b""
        """Masked bytes not stored yet."""
        self.truncated = False
        self.sha256 = hashlib.sha256()
        self._read = stored
        begin = max(0, stored - context_bytes(secrets))
        self._masker = Masker(secrets, os.pread(self.fd, stored - begin, begin))
        self._finished = False

    @property
    def read(self) -> int:
        """Raw bytes read so far."""
        return self._read

    def size(self) -> int:
        """Present size of the raw file.

        Raises:
            Tampered: it is shorter than what was read, or no longer in its place.
        """
        status = os.fstat(self.fd)
        if status.st_size < self._read:
            raise Tampered(f"{self.name} was cut from {self._read} to {status.st_size} bytes")
        if status.st_nlink != 1:
            raise Tampered(f"the file of {self.name} was removed or linked elsewhere")
        return status.st_size

    def fill(self, end: int) -> bool:
        """Read on towards ``end`` if nothing is pending; whether there is more to read after that."""
        if not self.pending and self._read < end:
            data = os.pread(self.fd, min(READ_BYTES, end - self._read), self._read)
            if self._read + len(data) < end:
                data = _to_line_end(data)
            self._read += len(data)
            self.pending = self._masker.feed(data)
        return self._read < end

    def finish(self) -> None:
        """No more will be read: what the masker holds back is decided now."""
        if not self._finished:
            self._finished = True
            self.pending += self._masker.finish()

    def advance(self, data: bytes) -> None:
        """``data``, the front of `pending`, is stored."""
        self.stored += len(data)
        self.pending = self.pending[len(data) :]
        self.sha256.update(data)

    def drop_pending(self) -> None:
        """What is left is not stored."""
        self.pending = b""
        self.truncated = True

    def close(self) -> None:
        """Let go of the file."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1


class AllHash:
    """SHA-256 of the stream `all`; shares the only stream's hash until the second one appears."""

    def __init__(self) -> None:
        self._only: CapturedStream | None = None
        self._own: Any = None

    def restore(self, pieces: Iterator[bytes]) -> None:
        """Start from what is stored already."""
        self._own = hashlib.sha256()
        for piece in pieces:
            self._own.update(piece)

    def before(self, stream: CapturedStream) -> None:
        """Called before ``stream`` takes a chunk into its own hash."""
        if self._own is None and self._only is None:
            self._only = stream
        elif self._own is None and self._only is not stream and self._only is not None:
            self._own = self._only.sha256.copy()

    def after(self, data: bytes) -> None:
        """Called after it has."""
        if self._own is not None:
            self._own.update(data)

    def hexdigest(self) -> str:
        """Of everything so far."""
        if self._own is not None:
            return str(self._own.hexdigest())
        return str((self._only.sha256 if self._only else hashlib.sha256()).hexdigest())


def _to_line_end(data: bytes) -> bytes:
    newline = data.rfind(b"\n", max(0, len(data) - LINE_SEARCH_BYTES))
    return data[: newline + 1] if newline >= 0 else data
