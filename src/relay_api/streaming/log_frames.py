"""Server-sent events of a followed log: exact bytes or text for people, then how the execution ended."""

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
from relay_core.store.views.execution_views import end_of

View = Literal["b64", "utf8"]


@dataclass(frozen=True)
class FollowedLog:
    """A stream of a log that a client follows."""

    execution_id: UUID
    stream: Stream
    start: int
    """Offset in bytes at which the client begins."""
    view: View
    """`b64`: exact bytes; `utf8`: text for people."""


class TextView:
    """Decodes each stream by itself, holding back a character that is not complete yet."""

    def __init__(self) -> None:
        self._decoders: dict[str, codecs.IncrementalDecoder] = {}

    def decode(self, stream: str, data: bytes) -> tuple[str, int]:
        """The text, and how many of the last bytes of ``data`` are held back for the next piece of this stream."""
        decoder = self._decoders.get(stream)
        if decoder is None:
            decoder = self._decoders[stream] = codecs.getincrementaldecoder("utf-8")("replace")
        text = decoder.decode(data)
        return text, min(len(decoder.getstate()[0]), len(data))

    def rest(self) -> list[tuple[str, str]]:
        """Replacement text for characters that are incomplete at the end of the log, by stream."""
        rests = [(stream, decoder.decode(b"", final=True)) for stream, decoder in self._decoders.items()]
        return [(stream, text) for stream, text in rests if text]


async def follow(services: Services, log: FollowedLog) -> AsyncIterator[bytes]:
    """Frames of the log from ``log.start`` on, and the frame `end` once the log is complete."""
    text = TextView() if log.view == "utf8" else None
    end = log.start
    async for piece in services.live.follow(log.execution_id, log.stream, log.start):
        end = piece.offset + len(piece.data)
        yield _piece(piece, end, text)
    for stream, rest in text.rest() if text else []:
        yield sse.frame({"stream": stream, "offset": end, "text": rest}, last_id=str(end))
    yield sse.frame(await run_in_threadpool(_ending, services, log), event="end", last_id=str(end))


def _piece(piece: Piece, end: int, text: TextView | None) -> bytes:
    data: dict[str, Any] = {"stream": piece.stream, "offset": piece.offset}
    if text is None:
        return sse.frame({**data, "b64": base64.b64encode(piece.data).decode()}, last_id=str(end))
    shown, held = text.decode(piece.stream, piece.data)
    # A client that connects again gets the held back bytes once more, as a whole character.
    return sse.frame({**data, "text": shown}, last_id=str(end - held))


def _ending(services: Services, log: FollowedLog) -> dict[str, Any]:
    with services.database.connect() as connection:
        return end_of(connection, log.execution_id, log.stream)
