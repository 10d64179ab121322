"""The values exchanged between a capture and its callers: the request, the collected bytes, and the end of a log."""

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol
from uuid import UUID

from relay_core.domain.vocabulary import Reason, Stream
from relay_core.store.logs.log_store import Append, StreamEnd
from relay_core.store.logs.stream_info import StreamInfo
from relay_workers.host_files.safe_dir import OpenFile


class LogFiles(Protocol):
    """Opens the files of an execution that a capture reads."""

    def open_log(self, stream: Stream) -> OpenFile:
        """Open the raw file of `stdout` or `stderr`."""
        ...

    def open_record(self) -> int:
        """Open the record of the step's start and end; return its file descriptor."""
        ...


@dataclass(frozen=True)
class CaptureRequest:
    """A request to capture the output of an execution.

    Attributes:
        fence: the number of the worker's ownership; Postgres refuses bytes from a worker with an older number.
        files: opens the files to capture.
        secrets: the values to mask in the output.
    """

    execution_id: UUID
    fence: int
    files: LogFiles
    secrets: Sequence[bytes]
    log_bytes: int
    """The maximum number of stored bytes of both streams together."""
    wake: threading.Event
    """The capture sets it after every change that the execution's own thread has to check."""
    lost: threading.Event = field(default_factory=threading.Event)
    """Set together with `wake` when this worker loses the execution; `CaptureHandle.finish` then raises `Stale`."""
    stored: threading.Event = field(default_factory=threading.Event)
    """The capture sets it each time output was stored."""
    first_owner: bool = False
    """Whether no other worker can have stored bytes of the log, so that its stored size is not asked for."""
    started: bool = False
    """Whether the step is known to have started, because this worker takes over a running execution.

    If True, a record that relay-pid1 does not hold means that the step has ended.
    """


@dataclass(frozen=True)
class CaptureEnd:
    """The sizes and digests of a log that is complete."""

    streams: Mapping[str, StreamInfo]
    cut: bool
    """Whether a background process still held the log open when it was closed; later output of it is lost."""
    stopped_reason: Reason | None
    """The reason why the log could not be stored to its end; None if it was."""

    def ends(self) -> dict[str, StreamEnd]:
        """Return the size and digest of each stream, in the form in which the store closes it."""
        return {name: StreamEnd(info.bytes, info.sha256 or "", info.truncated) for name, info in self.streams.items()}


class Backlog(NamedTuple):
    """The amount of an execution's output on this node."""

    unstored_bytes: int
    """The number of bytes in the raw files that were not sent to the store yet."""
    file_bytes: int
    """The size of the raw files in bytes. They are kept until the execution has ended."""


@dataclass(frozen=True)
class CollectedBytes:
    """The next bytes of an execution to store."""

    appends: list[Append]
    more: bool
    """Whether more bytes can be read at once."""
    again_at: float | None = None
    """The monotonic time at which an incomplete line is no longer held back; None if no line is held back."""
