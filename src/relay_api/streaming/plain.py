"""Follow logs as plain bytes, for `curl`: no frames, no heartbeats, and an end only when the log is complete.

If the server cannot go on, the connection is broken off without the end of the body, so no client takes a part for the
whole.
"""

from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from uuid import UUID

from starlette.concurrency import run_in_threadpool
from starlette.responses import StreamingResponse

from relay_api.services import Services
from relay_api.streaming.open_streams import CountedStream
from relay_core.domain.vocabulary import Stream
from relay_core.store.tokens import Principal
from relay_core.store.views.run_steps import RunProgress, StepName, progress_of

BYTES = "application/octet-stream"


def response(body: AsyncIterator[bytes], services: Services, principal: Principal) -> StreamingResponse:
    """Return an answer that streams bytes; 429 if too many streams are open."""
    return CountedStream(_begun(body), services.streams, principal.token_id or principal.owner, BYTES)


async def _begun(body: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    yield b""  # the head of the answer is sent now, and HEAD is answered, even if no byte comes for a long time
    async for part in body:
        yield part


async def follow_execution(services: Services, execution_id: UUID, stream: Stream) -> AsyncIterator[bytes]:
    """Yield the stored bytes of one stream of an execution, then new bytes until the log is complete."""
    async for piece in services.live.follow(execution_id, stream, 0):
        yield piece.data


@dataclass
class Markers:
    """Makes the lines that separate the logs of a run's steps; each begins at the start of a line.

    Attributes:
        wanted: whether there are such lines.
    """

    wanted: bool
    _open_line: bool = field(default=False, init=False)

    def before(self, step: StepName) -> bytes:
        """Return the line for the log of a step."""
        if not self.wanted:
            return b""
        line = f"--- {step.run_reason} {step.repo or ''}".rstrip()
        start = b"\n" if self._open_line else b""
        self._open_line = False
        return start + line.encode() + b"\n"

    def saw(self, data: bytes) -> bytes:
        """Note bytes of a log, and return them."""
        if data:
            self._open_line = not data.endswith(b"\n")
        return data


def stored_run(services: Services, progress: RunProgress, markers: Markers) -> Iterator[bytes]:
    """Yield the logs of all steps of a run that are stored now, in the order in which the steps were created."""
    for step in progress.steps:
        yield markers.before(step)
        size = services.logs.sizes(step.execution_id)[Stream.ALL].bytes
        for part in services.logs.iter_range(step.execution_id, Stream.ALL, 0, size):
            yield markers.saw(part)


async def follow_run(services: Services, run_id: UUID, markers: Markers) -> AsyncIterator[bytes]:
    """Yield the logs of the steps of a run, one after the other, until the run is completed.

    Steps that run at the same time follow one another as well; nothing of them is lost.
    """
    done: set[UUID] = set()
    while True:
        progress = await run_in_threadpool(_progress, services, run_id)
        step = next((step for step in progress.steps if step.execution_id not in done), None)
        if step is None:
            if progress.completed:
                return
            await services.events.wait_workspace(progress.workspace_id, progress.event_cursor)
            continue
        yield markers.before(step)
        async for part in follow_execution(services, step.execution_id, Stream.ALL):
            yield markers.saw(part)
        done.add(step.execution_id)


def _progress(services: Services, run_id: UUID) -> RunProgress:
    with services.database.connect() as connection:
        return progress_of(connection, run_id)
