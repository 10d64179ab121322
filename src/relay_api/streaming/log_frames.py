"""Make the server-sent events of a followed log: exact bytes or text for people, then how the execution ended."""

import base64
import codecs
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any, Literal
from uuid import UUID

from starlette.concurrency import run_in_threadpool

from relay_api.services import Services
from relay_api.streaming import sse
from relay_core.domain.vocabulary import Stream
from relay_core.store.logs.log_store import Piece
from relay_core.store.logs.removed import LogRemoved
from relay_core.store.views.execution_views import end_of

View = Literal["b64", "utf8"]


@dataclass(frozen=True)
class FollowedLog:
    """The stream of a log that a client follows, and from where."""

    execution_id: UUID
    stream: Stream
    start: int
    """Offset in bytes of the first byte to send."""
    view: View
    """`b64` sends the exact bytes, `utf8` sends text for people."""


class TextView:
    """Decodes the UTF-8 of each stream separately; keeps an incomplete character for the next piece of the stream."""

    def __init__(self) -> None:
        self._decoders: dict[str, codecs.IncrementalDecoder] = {}

    def decode(self, stream: str, data: bytes) -> tuple[str, int]:
        """Return the text, and the number of last bytes of ``data`` that are kept for the next piece of this stream."""
        decoder = self._decoders.get(stream)
        if decoder is None:
            decoder = self._decoders[stream] = codecs.getincrementaldecoder("utf-8")("replace")
        text = decoder.decode(data)
        return text, min(len(decoder.getstate()[0]), len(data))

    def rest(self) -> list[tuple[str, str]]:
        """Return (stream, replacement text) for each stream that ends with an incomplete character."""
        rests = [(stream, decoder.decode(b"", final=True)) for stream, decoder in self._decoders.items()]
        return [(stream, text) for stream, text in rests if text]


async def follow(services: Services, log: FollowedLog) -> AsyncIterator[bytes]:
    """Yield the events of the log from ``log.start`` on, then the event `end` when the log is complete."""
    text = TextView() if log.view == "utf8" else None
    end = log.start
    try:
        async for piece in services.live.follow(log.execution_id, log.stream, log.start):
            end = piece.offset + len(piece.data)
            yield _piece(piece, end, text)
    except LogRemoved as removed:  # since this reader began
        yield sse.frame(removed.as_json(), event="removed", last_id=str(end))
        return
    for stream, rest in text.rest() if text else []:
        yield sse.frame({"stream": stream, "offset": end, "text": rest}, last_id=str(end))
    yield sse.frame(await run_in_threadpool(_ending, services, log), event="end", last_id=str(end))


def _piece(piece: Piece, end: int, text: TextView | None) -> bytes:
    data: dict[str, Any] = {"stream": piece.stream, "offset": piece.offset}
    if text is None:
        return sse.frame({**data, "b64": base64.b64encode(piece.data).decode()}, last_id=str(end))
    shown, held = text.decode(piece.stream, piece.data)
    # The id excludes the kept bytes, so a client that reconnects gets them again, as a whole character.
    return sse.frame({**data, "text": shown}, last_id=str(end - held))


def _ending(services: Services, log: FollowedLog) -> dict[str, Any]:
    with services.database.connect() as connection:
        return end_of(connection, log.execution_id, log.stream)
