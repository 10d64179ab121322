"""Computes the SHA-256 digests of a log's three streams.

They are `stdout`, `stderr`, and `all`, which contains the bytes of both in the order in which they are stored.
"""

import hashlib
from collections.abc import Iterable
from typing import Any

from relay_core.domain.vocabulary import Stream
from relay_core.store.logs.log_store import Piece


class Digests:
    """SHA-256 digests of the three streams of a log, from chunks that are added in the order in which they are stored.

    As long as only one of `stdout` and `stderr` has bytes, `all` equals it and is not hashed separately.
    """

    def __init__(self) -> None:
        self._own: dict[str, Any] = {Stream.STDOUT: hashlib.sha256(), Stream.STDERR: hashlib.sha256()}
        self._seen: set[str] = set()
        self._all: Any = None

    @classmethod
    def of(cls, pieces: Iterable[Piece]) -> "Digests":
        """Return the digests of a stored log; ``pieces`` must be in the order of `all`."""
        digests = cls()
        for piece in pieces:
            digests.update(piece.stream, piece.data)
        return digests

    def update(self, stream: str, data: bytes) -> None:
        """Add the next chunk of `stdout` or `stderr`."""
        if self._all is None and self._seen and stream not in self._seen:
            (other,) = self._seen
            self._all = self._own[other].copy()
        self._seen.add(stream)
        self._own[stream].update(data)
        if self._all is not None:
            self._all.update(data)

    def hexdigests(self) -> dict[str, str]:
        """Return the digests of all chunks added so far, by stream, as hexadecimal text."""
        first = next(iter(self._seen), Stream.STDOUT)
        everything = self._all if self._all is not None else self._own[first]
        digests = {**self._own, Stream.ALL: everything}
        return {stream: str(digest.hexdigest()) for stream, digest in digests.items()}
