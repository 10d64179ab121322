"""Between a capture and those who use it: what it is asked for, and what it answers."""

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol
from uuid import UUID

from relay_core.domain.vocabulary import Reason, Stream
from relay_core.store.logs.log_store import Append, StreamEnd, StreamInfo
from relay_workers.host_files.safe_dir import OpenFile


class LogFiles(Protocol):
    """The part of a run directory that is captured."""

    def open_log(self, stream: Stream) -> OpenFile:
        """The raw file of `stdout` or `stderr`."""
        ...

    def open_alive(self) -> int:
        """The FIFO whose other end the supervisor holds: `s` is said when it starts, `x` when the exit is recorded."""
        ...


@dataclass(frozen=True)
class CaptureRequest:
    """A run to be captured."""

    execution_id: UUID
    fence: int
    run_dir: LogFiles
    secrets: Sequence[bytes]
    log_bytes: int
    """Stored bytes of both streams stop exactly here."""
    wake: threading.Event
    """Set whenever something happens that the runner should look at."""
    lost: threading.Event = field(default_factory=threading.Event)
    """Set by whoever takes the run from this worker (and sets `wake`): `Capture.finish` then gives up."""
    stored: threading.Event = field(default_factory=threading.Event)
    """Set whenever some of its output was stored."""
    started: bool = False
    """The supervisor is known to have started (adoption): a FIFO without a writer then means that it is dead."""


@dataclass(frozen=True)
class CaptureEnd:
    """A log that is complete."""

    streams: Mapping[str, StreamInfo]
    cut: bool
    """A background process still held the log when it was taken as ended."""
    stopped_reason: Reason | None

    def ends(self) -> dict[str, StreamEnd]:
        """What the streams are closed with."""
        return {name: StreamEnd(info.bytes, info.sha256 or "", info.truncated) for name, info in self.streams.items()}


class Backlog(NamedTuple):
    """How much of a run's output is on this node."""

    unstored_bytes: int
    file_bytes: int
    """Of its raw files, which stay until it has ended."""


@dataclass(frozen=True)
class Collected:
    """The next bytes of a run."""

    appends: list[Append]
    more: bool
    """There is more to read at once."""
    again_at: float | None = None
    """When a line that is held back will have waited long enough, on the monotonic clock."""
