"""Follow logs as plain bytes, for `curl`: no frames, no heartbeats, and an end only when the log is complete.

If the server cannot go on, the connection is broken off without the end of the body, so no client takes a part for the
whole.
"""

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass, field
from uuid import UUID

from starlette.concurrency import run_in_threadpool
from starlette.responses import StreamingResponse

from relay_api.services import Services
from relay_api.streaming.open_streams import CountedStream
from relay_core.domain.logs.side_by_side import PrefixedLines, names_of
from relay_core.domain.vocabulary import Stream
from relay_core.store.logs.stream_info import StreamInfo
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

    def before(self, *steps: StepName) -> bytes:
        """Return the line for the log of a step, or for the logs of steps that are shown side by side."""
        if not self.wanted:
            return b""
        line = "--- " + ", ".join(f"{step.run_reason} {step.repo or ''}".rstrip() for step in steps)
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
        log = services.logs.sizes(step.execution_id)[Stream.ALL]
        if log.removed_at is not None:
            yield markers.saw(_removed(log))
            continue
        for part in services.logs.iter_range(step.execution_id, Stream.ALL, 0, log.bytes):
            yield markers.saw(part)


async def follow_run(services: Services, run_id: UUID, markers: Markers) -> AsyncIterator[bytes]:
    """Yield the logs of the steps of a run, one after the other, until the run is completed.

    Steps that run at the same time are shown side by side, as lines that begin with the name of their step. Without
    markers their logs follow one another as well, as exact bytes.
    """
    done: set[UUID] = set()
    while True:
        progress = await run_in_threadpool(_progress, services, run_id)
        left = [step for step in progress.steps if step.execution_id not in done]
        if not left:
            if progress.completed:
                return
            await services.events.wait_workspace(progress.workspace_id, progress.event_cursor)
            continue
        now = _shown_together(left) if markers.wanted else left[:1]
        log = (await run_in_threadpool(services.logs.sizes, now[0].execution_id))[Stream.ALL]
        if log.removed_at is not None:
            now = left[:1]
            yield markers.before(*now)
            yield markers.saw(_removed(log))
            done.add(now[0].execution_id)
            continue
        yield markers.before(*now)
        async for part in _followed(services, now):
            yield markers.saw(part)
        done.update(step.execution_id for step in now)


def refuse_removed(services: Services, progress: RunProgress) -> None:
    """Raise an error if the bytes of the log of a step were removed; for readers that get exact bytes.

    Raises:
        LogRemoved: they were.
    """
    for step in progress.steps:
        services.logs.require_bytes(step.execution_id, Stream.ALL)


def _removed(log: StreamInfo) -> bytes:
    return f"({log.bytes} bytes were removed at {log.removed_at:%Y-%m-%d %H:%M:%S %Z})\n".encode() if log.bytes else b""


def _shown_together(left: Sequence[StepName]) -> Sequence[StepName]:
    """Return the next step to show, with those that run at the same time unless all of them have ended."""
    group = [step for step in left if step.group_id == left[0].group_id]
    return group if not all(step.ended for step in group) else left[:1]


async def _followed(services: Services, steps: Sequence[StepName]) -> AsyncIterator[bytes]:
    """Yield the log of a step as it is; of several steps, their lines as they arrive, each after its step's name."""
    if len(steps) == 1:
        async for data in follow_execution(services, steps[0].execution_id, Stream.ALL):
            yield data
        return
    names = names_of([(step.run_reason, step.repo) for step in steps])
    waiting: dict[asyncio.Future[bytes], tuple[AsyncIterator[bytes], PrefixedLines]] = {}

    def ask(source: AsyncIterator[bytes], lines: PrefixedLines) -> None:
        waiting[asyncio.ensure_future(anext(source))] = (source, lines)

    try:
        for step, name in zip(steps, names, strict=True):
            ask(follow_execution(services, step.execution_id, Stream.ALL), PrefixedLines(f"{name} | ".encode()))
        while waiting:
            for arrived in (await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED))[0]:
                source, lines = waiting.pop(arrived)
                try:
                    data = lines.feed(arrived.result())
                    ask(source, lines)
                except StopAsyncIteration:
                    data = lines.end()
                if data:
                    yield data
    finally:
        for open_one in waiting:
            open_one.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)


def _progress(services: Services, run_id: UUID) -> RunProgress:
    with services.database.connect() as connection:
        return progress_of(connection, run_id)
