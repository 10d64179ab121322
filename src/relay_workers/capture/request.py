"""Values between a capture and its callers: the request, the next bytes, and the end of a log."""

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol
from uuid import UUID

from relay_core.domain.vocabulary import Reason, Stream
from relay_core.store.logs.log_store import Append, StreamEnd, StreamInfo
from relay_workers.host_files.safe_dir import OpenFile


class LogFiles(Protocol):
    """The files of a run directory that are captured."""

    def open_log(self, stream: Stream) -> OpenFile:
        """The raw file of `stdout` or `stderr`."""
        ...

    def open_alive(self) -> int:
        """The FIFO that the supervisor holds open: it writes `s` at its start and `x` once the exit is recorded."""
        ...


@dataclass(frozen=True)
class CaptureRequest:
    """An execution to capture."""

    execution_id: UUID
    fence: int
    run_dir: LogFiles
    secrets: Sequence[bytes]
    log_bytes: int
    """Largest number of stored bytes of both streams together."""
    wake: threading.Event
    """Set by the capture after every change that the execution's own thread has to look at."""
    lost: threading.Event = field(default_factory=threading.Event)
    """Set (and `wake` with it) when this worker loses the execution; `CaptureHandle.finish` then raises `Stale`."""
    stored: threading.Event = field(default_factory=threading.Event)
    """Set by the capture whenever output was stored."""
    started: bool = False
    """The supervisor is known to have started (adoption), so a FIFO without a writer means that it is dead."""


@dataclass(frozen=True)
class CaptureEnd:
    """A complete log."""

    streams: Mapping[str, StreamInfo]
    cut: bool
    """A background process held the log open when it was closed; its later output is lost."""
    stopped_reason: Reason | None
    """Why the log could not be stored to its end; None where it was."""

    def ends(self) -> dict[str, StreamEnd]:
        """Sizes and digests of the streams."""
        return {name: StreamEnd(info.bytes, info.sha256 or "", info.truncated) for name, info in self.streams.items()}


class Backlog(NamedTuple):
    """Output of an execution on this node."""

    unstored_bytes: int
    """Bytes of raw files that were not given out to be stored."""
    file_bytes: int
    """Size of the raw files, which stay until the execution has ended."""


@dataclass(frozen=True)
class CollectedBytes:
    """The next bytes of an execution."""

    appends: list[Append]
    more: bool
    """There are more bytes to read at once."""
    again_at: float | None = None
    """Time at which a line without an end is no longer held back, on the monotonic clock; None where none is."""
