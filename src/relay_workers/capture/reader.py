"""The reading side of one capture: from raw files to batches of bytes. Only the pump's thread moves it."""

import os
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from enum import Enum, auto

import structlog

from relay_core.domain.logs.append import RefusedAppends
from relay_core.domain.vocabulary import Reason, Stream
from relay_core.store.logs.log_store import Append, StreamInfo
from relay_workers.capture.digests import Digests
from relay_workers.capture.request import Backlog, CaptureRequest, CollectedBytes
from relay_workers.capture.stream import CapturedStream
from relay_workers.capture.supervisor_signals import SupervisorSignals
from relay_workers.host_files.safe_dir import TamperedFile

log = structlog.get_logger(__name__)

OWN_STREAMS = (Stream.STDOUT, Stream.STDERR)


class CaptureState(Enum):
    """The states of a capture, in their usual order; every state can be followed by `LOST` or `RELEASED`."""

    READING = auto()
    """Bytes are read as the process writes them."""
    ENDING = auto()
    """Bytes are read up to the sizes that the files had when the end was asked for."""
    DRAINED = auto()
    """All those bytes are stored. `ENDING` follows again where Postgres turns out to have lost some of them."""
    DONE = auto()
    """The end was handed out; the files may be removed."""
    RELEASED = auto()
    """The pump has forgotten the capture and closed its files; some of its batches are still being stored."""
    SETTLED = auto()
    """Released, and no batch with bytes of it is being stored."""
    LOST = auto()
    """The log is another owner's: nothing more is read or stored."""


class CaptureReader:
    """Reads the files of one execution. All methods are for the pump's thread; other threads read the attributes.

    Args:
        request: the execution to capture.
        sizes: what is stored of its streams.

    Raises:
        TamperedFile: the files are not as Relay made them.
        FileNotFoundError: they are gone.
    """

    def __init__(self, request: CaptureRequest, sizes: Mapping[str, StreamInfo]) -> None:
        self.execution_id = request.execution_id
        ids = {"execution_id": str(request.execution_id), "fence": request.fence}
        self._log = log.bind(**structlog.contextvars.get_contextvars() | ids)  # the pump's thread has no such context
        self._request = request
        self.state = CaptureState.READING
        self.stopped_reason: Reason | None = None
        """Why the log cannot be stored any further; nothing is read while it is set."""
        self.faults = 0
        """Number of times that reading raised an unexpected error."""
        self.batches_under_way = 0
        """Batches with bytes of this capture that are not stored yet."""
        self.digests = None if sizes[Stream.ALL].bytes else Digests()
        """SHA-256 of the bytes given out; None: unknown, to be made of the stored log."""
        self._target: dict[str, int] | None = None
        """Raw sizes at which the log ends; None before the end was asked for."""
        self._refused_at: Mapping[str, int] | None = None
        """StoredAppend sizes to go back to once no batch is under way: Postgres has less than it once confirmed."""
        with ExitStack() as undo:
            self.supervisor = SupervisorSignals(request.run_dir.open_alive(), started=request.started)
            undo.callback(self.supervisor.close)
            self.streams: dict[str, CapturedStream] = {}
            for name in OWN_STREAMS:
                file = request.run_dir.open_log(name)
                undo.callback(os.close, file.fd)
                self.streams[name] = CapturedStream(name, file, sizes[name].bytes, request.secrets)
            undo.pop_all()

    @property
    def reads(self) -> bool:
        """Whether bytes may be read: the log is not full, tampered, lost, or handed out."""
        open_states = {CaptureState.READING, CaptureState.ENDING, CaptureState.DRAINED}
        return self.stopped_reason is None and self.state in open_states

    def has_changed(self) -> bool:
        """Whether the files have grown or changed since they were last read."""
        return self.reads and any(stream.has_changed() for stream in self.streams.values())

    def backlog(self) -> Backlog:
        """The unread bytes and the size of the raw files; for any thread."""
        sizes = 0
        with suppress(OSError):  # the files were closed meanwhile
            sizes = sum(os.fstat(stream.fd).st_size for stream in self.streams.values())
        return Backlog(max(0, sizes - sum(self.assigned().values())), sizes)

    def read_supervisor(self, *, hung_up: bool) -> None:
        """Read the reports of the supervisor; ``hung_up``: the kernel reports that it closed its FIFO."""
        self.supervisor.read(hung_up=hung_up)
        self._notify()

    def collect(self) -> CollectedBytes:
        """The next bytes to store, in order. Errors of the files stop the capture; other errors are raised."""
        appends: list[Append] = []
        more = False
        try:
            for stream in self.streams.values():
                if not self.reads or self._refused_at is not None:
                    more = False
                    break
                more |= self._take(stream, appends)
        except TamperedFile as error:
            self._log.warning("a log was tampered with", error=str(error))
            self.tampered()
        except OSError:
            self._log.exception("a log cannot be read")
            self.stop(Reason.INTERNAL_ERROR)
        if self.state is CaptureState.ENDING and not (appends or more or self.batches_under_way):
            self._end_here()
        waits = [at for stream in self.streams.values() if (at := stream.waits_for_line) is not None]
        again_at = min(waits) if waits and self.reads and not self._target else None
        return CollectedBytes(appends, more and self.reads, again_at)

    def assigned(self) -> dict[str, int]:
        """By stream, the number of bytes that are stored or under way."""
        return {name: stream.assigned for name, stream in self.streams.items()}

    def read_again(self, assigned: Mapping[str, int]) -> None:
        """Go on behind these bytes, as those that were read since are in no batch."""
        self.digests = None
        try:
            for name, stream in self.streams.items():
                stream.go_to(assigned[name])
        except TamperedFile:
            self.tampered()
        except OSError:
            self._log.exception("a log cannot be read")
            self.stop(Reason.INTERNAL_ERROR)

    def sent(self) -> None:
        """Count a batch with bytes of this capture that was handed to the writer."""
        self.batches_under_way += 1

    def settle(self, refused: RefusedAppends | None, *, broken: bool) -> None:
        """Count a batch with bytes of this capture that the writer is done with.

        Args:
            refused: Postgres has other bytes, or another owner, than the batch supposes.
            broken: the bytes could not be stored because of a fault of Relay's.
        """
        self.batches_under_way -= 1
        self._request.stored.set()
        if broken:
            self.stop(Reason.INTERNAL_ERROR)
        elif refused is not None and refused.sizes is None:
            self._lose()
        elif refused is not None:
            self._refused_at = refused.sizes
        if self.state is CaptureState.RELEASED:
            self._note_settled()
        elif self._refused_at is not None and self.batches_under_way == 0 and self.state is not CaptureState.LOST:
            self.go_back(self._refused_at)

    def go_back(self, sizes: Mapping[str, int]) -> None:
        """Store everything behind these sizes again: Postgres crashed before it had written what it had confirmed."""
        self._log.warning("a log goes back to what is stored", stored=dict(sizes))
        self._refused_at = None
        self.digests = None
        if self.stopped_reason is Reason.LOG_LIMIT:
            self.stopped_reason = None  # the limit is reached again by the same bytes
        self.reopen()
        self.read_again(sizes)

    def learn(self, secrets: Sequence[bytes]) -> None:
        """Mask these values in all bytes that are not given out yet."""
        if not self.reads or self.state is CaptureState.DRAINED:
            return
        try:
            for stream in self.streams.values():
                stream.learn(secrets)
        except TamperedFile:
            self.tampered()

    def reopen(self) -> None:
        """Leave `DRAINED`, so that the handle waits for it again; also for the handle's thread."""
        if self.state is CaptureState.DRAINED:
            self.state = CaptureState.ENDING

    def end_at_present_size(self) -> None:
        """Read up to the present sizes of the files and no further."""
        self._target = {name: os.fstat(stream.fd).st_size for name, stream in self.streams.items()}
        if self.state is CaptureState.READING:
            self.state = CaptureState.ENDING

    def moved(self) -> None:
        """Stop the capture: one of its files was renamed, which Relay never does."""
        if self.reads:
            self.tampered()

    def stop(self, reason: Reason) -> None:
        """Read nothing more; the first reason stays."""
        self.stopped_reason = self.stopped_reason or reason
        self._notify()

    def tampered(self) -> None:
        """Stop the capture: a file was changed, or is not where Relay made it."""
        for stream in self.streams.values():
            stream.truncated = True  # the stored bytes are the process's, but perhaps not all of them
        self.stop(Reason.LOG_TAMPERED)

    def release(self) -> None:
        """Close the files: the pump has forgotten the capture."""
        self.supervisor.close()
        for stream in self.streams.values():
            stream.close()
        if self.state is not CaptureState.LOST:
            self.state = CaptureState.RELEASED
        self._notify()
        self._note_settled()

    def _take(self, stream: CapturedStream, appends: list[Append]) -> bool:
        """Take the next bytes of a stream; whether there are more to read at once."""
        size = stream.size()
        end = size if self._target is None else min(size, self._target[stream.name])
        lines = self._target is None and self._both_in_use(stream)
        data = stream.take(end, whole_lines=lines)
        if self._target is not None and stream.read >= end:
            data += stream.rest()
        self._assign(stream, data, appends)
        return stream.read < end and not (lines and stream.waits_for_line)

    def _both_in_use(self, stream: CapturedStream) -> bool:
        """Whether bytes of the other stream could be stored within a line of this one."""
        return any(other.assigned or other.has_changed() for other in self.streams.values() if other is not stream)

    def _assign(self, stream: CapturedStream, data: bytes, appends: list[Append]) -> None:
        room = self._request.log_bytes - sum(self.assigned().values())
        if len(data) > room:
            data = data[:room]
            stream.truncated = True
            self.stop(Reason.LOG_LIMIT)
        if data:
            appends.append(Append(self.execution_id, self._request.fence, stream.name, stream.assigned, data))
            stream.assigned += len(data)
            if self.digests is not None:
                self.digests.update(stream.name, data)

    def _end_here(self) -> None:
        for stream in self.streams.values():
            stream.truncated |= os.fstat(stream.fd).st_size > stream.assigned
        self.state = CaptureState.DRAINED
        self._notify()

    def _lose(self) -> None:
        self.state = CaptureState.LOST
        self._notify()

    def _note_settled(self) -> None:
        if self.state is CaptureState.RELEASED and self.batches_under_way == 0:
            self.state = CaptureState.SETTLED
            self._notify()

    def _notify(self) -> None:
        """Wake the thread that waits on the handle."""
        self._request.wake.set()
