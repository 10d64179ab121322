"""Checks of the end of a captured run, and a `finish` that waits in a thread of its own."""

import hashlib
import threading

from relay_core.domain.errors import Stale
from relay_core.domain.vocabulary import Stream
from relay_workers.capture.pump import CaptureEnd, CaptureHandle
from tests.support.log_fixtures import Bench, Owned

MIB = 1 << 20
TAIL = 0.3


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def check_end(bench: Bench, owned: Owned, end: CaptureEnd, expected: dict[str, bytes]) -> None:
    """The end, the stored bytes and the three digests agree with what was written."""
    for stream, data in expected.items():
        assert bench.stored(owned, stream) == data
        assert (end.streams[stream].bytes, end.streams[stream].sha256) == (len(data), sha256(data))
    merged = bench.stored(owned, Stream.ALL)
    info = end.streams[Stream.ALL]
    assert (info.bytes, info.sha256) == (len(merged), sha256(merged))
    pieces: dict[str, bytes] = {"stdout": b"", "stderr": b""}
    for piece in bench.store.iter_pieces(owned.id, Stream.ALL):
        pieces[piece.stream] += piece.data
    assert pieces == {stream: expected.get(stream, b"") for stream in pieces}


def finish_later(capture: CaptureHandle, tail: float = TAIL) -> tuple[threading.Thread, list[object]]:
    ends: list[object] = []

    def body() -> None:
        try:
            ends.append(capture.finish(tail))
        except Stale as error:
            ends.append(error)

    thread = threading.Thread(target=body)
    thread.start()
    return thread, ends
