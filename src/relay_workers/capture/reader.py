"""Reads the raw files of one capture and produces the bytes to store. Only the pump's thread changes its state."""

import os
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from enum import Enum, auto

import structlog

from relay_core.domain.logs.append import RefusedAppends
from relay_core.domain.vocabulary import Reason, Stream
from relay_core.store.logs.log_store import Append
from relay_core.store.logs.stream_info import StreamInfo
from relay_workers.capture.digests import Digests
from relay_workers.capture.request import Backlog, CaptureRequest, CollectedBytes
from relay_workers.capture.step_signals import StepSignals
from relay_workers.capture.stream import CapturedStream
from relay_workers.containers.pid1.messages import MalformedMessage
from relay_workers.host_files.safe_dir import TamperedFile

log = structlog.get_logger(__name__)

OWN_STREAMS = (Stream.STDOUT, Stream.STDERR)


class CaptureState(Enum):
    """The states of a capture, in their usual order; `LOST` or `RELEASED` can follow every state."""

    READING = auto()
    """Bytes are read as the process writes them."""
    ENDING = auto()
    """The end of the log was requested; bytes are read up to the sizes that the files had at that moment."""
    DRAINED = auto()
    """All those bytes are stored. If Postgres turns out to have lost some of them, `ENDING` follows again."""
    DONE = auto()
    """The log is complete and its end is being returned to the runner; the files may be removed."""
    RELEASED = auto()
    """The capture was removed from the pump and its files are closed; some of its batches may still wait to be
    stored."""
    SETTLED = auto()
    """The capture is released, and no batch with its bytes is being stored any more."""
    LOST = auto()
    """Another worker owns the log: nothing more is read or stored."""


class CaptureReader:
    """Reads the files of one execution. Only the pump's thread calls its methods, except where noted.

    Other threads may read its attributes.

    Args:
        request: the execution to capture.
        sizes: the stored size and state of each stream.

    Raises:
        TamperedFile: the files are not as Relay made them.
        FileNotFoundError: the files are gone.
    """

    def __init__(self, request: CaptureRequest, sizes: Mapping[str, StreamInfo]) -> None:
        self.execution_id = request.execution_id
        ids = {"execution_id": str(request.execution_id), "fence": request.fence}
        self._log = log.bind(**structlog.contextvars.get_contextvars() | ids)  # the pump's thread lacks this context
        self._request = request
        self.state = CaptureState.READING
        self.stopped_reason: Reason | None = None
        """The reason why no more of the log can be stored; None if it can. While it is set, nothing is read."""
        self.faults = 0
        """The number of times that reading raised an unexpected error."""
        self.looked_at = time.monotonic()
        """The monotonic time in seconds of the last look whether the files have grown."""
        self.grown_at = 0.0
        """The monotonic time at which the kernel last reported that they grew; 0 before."""
        self.rests_until = 0.0
        """The monotonic time until which nothing is collected while the process runs; see the pump's `REST_SECONDS`."""
        self.batches_under_way = 0
        """The number of batches with bytes of this capture that are not stored yet."""
        self.digests = None if sizes[Stream.ALL].bytes else Digests()
        """The digests of all bytes sent to the store. None if they are unknown and must be computed from the stored
        log."""
        self._target: dict[str, int] | None = None
        """The sizes of the raw files at which the log ends, by stream; None until the end is requested."""
        self._refused_at: Mapping[str, int] | None = None
        """The stored sizes to go back to once no batch is being stored; None if there is no need.

        Set when Postgres has fewer bytes than it had confirmed.
        """
        with ExitStack() as undo:
            self.signals = StepSignals(request.files.open_record(), started=request.started)
            undo.callback(self.signals.close)
            self.streams: dict[str, CapturedStream] = {}
            for name in OWN_STREAMS:
                file = request.files.open_log(name)
                undo.callback(os.close, file.fd)
                self.streams[name] = CapturedStream(name, file, sizes[name].bytes, request.secrets)
            undo.pop_all()

    @property
    def reads(self) -> bool:
        """Whether bytes may be read: the log is not full, tampered with, lost or complete."""
        open_states = {CaptureState.READING, CaptureState.ENDING, CaptureState.DRAINED}
        return self.stopped_reason is None and self.state in open_states

    @property
    def rests(self) -> bool:
        """Whether bytes were collected a moment ago, and the end of the log was not requested yet."""
        return self.state is CaptureState.READING and time.monotonic() < self.rests_until

    def has_changed(self) -> bool:
        """Return whether the files have grown or changed since they were last read."""
        changed = self.reads and any(stream.has_changed() for stream in self.streams.values())
        self.looked_at = time.monotonic()
        return changed

    @property
    def unread(self) -> bool:
        """Whether the last look at the files found bytes that are not read yet. Asks for no file."""
        return any(stream.seen > stream.read for stream in self.streams.values())

    def backlog(self) -> Backlog:
        """Return the number of unread bytes and the size of the raw files. Any thread may call it."""
        sizes = 0
        with suppress(OSError):  # the files were closed meanwhile
            sizes = sum(os.fstat(stream.fd).st_size for stream in self.streams.values())
        return Backlog(max(0, sizes - sum(self.assigned().values())), sizes)

    def read_signals(self) -> None:
        """Read the record of the step, and wake the runner's thread if there is something new."""
        if self.signals.dead.is_set():
            return
        try:
            if self.signals.read():
                self._notify()
        except (MalformedMessage, OSError) as error:
            self._log.warning("a record was damaged", error=str(error))
            self.tampered()

    def has_started(self) -> None:
        """Note that the step has started, before its record says so."""
        self.signals.started.set()
        self.read_signals()

    def collect(self) -> CollectedBytes:
        """Return the next bytes to store. An error of the files stops the capture; other errors are raised."""
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
        """Return the number of bytes of each stream that were sent to the store, stored or not yet."""
        return {name: stream.assigned for name, stream in self.streams.items()}

    def read_again(self, assigned: Mapping[str, int]) -> None:
        """Read again from these offsets, because the bytes that were read after them are in no batch.

        Args:
            assigned: by stream, the number of bytes that are in a batch or stored.
        """
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
        """Process the result of a batch with bytes of this capture.

        Args:
            refused: why Postgres did not take the bytes (its stored sizes differ from those assumed, or another worker
                owns the log); None if it took them.
            broken: whether the bytes could not be stored because of an error in Relay.
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
        """Store everything after these sizes again: Postgres crashed before writing what it had confirmed."""
        self._log.warning("a log goes back to what is stored", stored=dict(sizes))
        self._refused_at = None
        self.digests = None
        if self.stopped_reason is Reason.LOG_LIMIT:
            self.stopped_reason = None  # the same bytes reach the limit again
        self.reopen()
        self.read_again(sizes)

    def set_secrets(self, secrets: Sequence[bytes]) -> None:
        """Mask these values in all bytes that were not sent to the store yet."""
        if not self.reads or self.state is CaptureState.DRAINED:
            return
        try:
            for stream in self.streams.values():
                stream.set_secrets(secrets)
        except TamperedFile:
            self.tampered()

    def reopen(self) -> None:
        """Return from `DRAINED` to `ENDING`, so that the handle waits again. The handle's thread may call it, too."""
        if self.state is CaptureState.DRAINED:
            self.state = CaptureState.ENDING

    def end_at_present_size(self) -> None:
        """End the log at the current sizes of the files: read up to there and no further."""
        self._target = {name: os.fstat(stream.fd).st_size for name, stream in self.streams.items()}
        if self.state is CaptureState.READING:
            self.state = CaptureState.ENDING

    def moved(self) -> None:
        """Stop the capture because one of its files was renamed, which Relay never does."""
        if self.reads:
            self.tampered()

    def stop(self, reason: Reason) -> None:
        """Read nothing more and record the reason; an earlier reason is kept."""
        self.stopped_reason = self.stopped_reason or reason
        self._notify()

    def tampered(self) -> None:
        """Stop the capture because a file was changed, or is not where Relay made it."""
        for stream in self.streams.values():
            stream.truncated = True  # the stored bytes come from the process, but some may be missing
        self.stop(Reason.LOG_TAMPERED)

    def release(self) -> None:
        """Close the files; the pump calls it when it removes the capture."""
        self.signals.close()
        for stream in self.streams.values():
            stream.close()
        if self.state is not CaptureState.LOST:
            self.state = CaptureState.RELEASED
        self._notify()
        self._note_settled()

    def _take(self, stream: CapturedStream, appends: list[Append]) -> bool:
        """Append the next bytes of a stream to ``appends``; return whether more can be read at once."""
        size = stream.size()
        end = size if self._target is None else min(size, self._target[stream.name])
        lines = self._target is None and self._both_in_use(stream)
        data = stream.take(end, whole_lines=lines)
        if self._target is not None and stream.read >= end:
            data += stream.rest()
        self._assign(stream, data, appends)
        return stream.read < end and not (lines and stream.waits_for_line)

    def _both_in_use(self, stream: CapturedStream) -> bool:
        """Return whether the other stream has bytes that could be stored in the middle of a line of this one."""
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
        """Wake the runner's thread, which waits on the handle."""
        self._request.wake.set()
