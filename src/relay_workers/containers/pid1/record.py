"""The record of an execution: a file of the node that relay-pid1 writes and no container sees.

The worker makes it before the start and passes it on under an exclusive lock, which relay-pid1 holds until the record
is complete. So a reader knows whether relay-pid1 still writes it, without asking the container engine.
"""

import fcntl
import os
import struct
from dataclasses import dataclass
from pathlib import Path

from relay_workers.containers.pid1.answers import EndFlag, ExecutionStatus, How, Stream, oom_count
from relay_workers.containers.pid1.messages import Key, MalformedMessage, Stage
from relay_workers.host_files.file_lock import is_locked

SIZE = 512
_MAGIC, _VERSION = b"RELAYREC", 1
_HEADER = struct.Struct("<8sII24s")
_STARTED, _STARTED_AT = struct.Struct("<IIQQq"), 64
_ENDED, _ENDED_AT = struct.Struct("<IIIIIIQQq"), 128
_STREAM = struct.Struct("<QQII")
_DRAINED_AT = 256


@dataclass(frozen=True)
class Started:
    """The step's program was executed."""

    pid: int
    """The pid of the step in its container."""
    boottime_ns: int
    realtime_ns: int
    oom_kills: int | None
    """The container's count before the start; None if it is unknown."""


@dataclass(frozen=True)
class Ended:
    """The step's process is gone, or was never executed."""

    how: How
    value: int
    """The exit code, the signal, or the errno of a failed start."""
    stage: Stage
    flags: EndFlag
    boottime_ns: int
    realtime_ns: int
    oom_kills: int | None
    """The container's count after the end; None if it is unknown."""


@dataclass(frozen=True)
class Drained:
    """Nothing more is written to the files of the execution."""

    stdout: Stream
    stderr: Stream


@dataclass(frozen=True)
class Record:
    """The content of a record. Each part is None until relay-pid1 has written it."""

    key: Key
    started: Started | None = None
    ended: Ended | None = None
    drained: Drained | None = None


def told(status: ExecutionStatus) -> Record:
    """Return what the record of an execution says as soon as relay-pid1 gets to write it, from what it told."""
    started = Started(status.pid, status.started_ns, 0, status.oom_kills_before) if status.started_ns else None
    if status.how is How.NOT_YET:
        return Record(status.key, started)
    ended = Ended(status.how, status.value, status.stage, status.flags, status.ended_ns, 0, status.oom_kills_after)
    return Record(status.key, started, ended)


def create(path: Path, key: Key) -> int:
    """Make the record of an execution that was not started, and return its descriptor, which holds the lock.

    The caller passes the descriptor to `Pid1Client.start` and closes it afterwards in every case; a copy that
    relay-pid1 got keeps the lock. All bytes are written, so that a full disk is noticed before the start.

    Raises:
        FileExistsError: there is a file at this path.
        OSError: the disk is full or the directory cannot be written.
    """
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        header = _HEADER.pack(_MAGIC, _VERSION, SIZE, key.encode())
        os.pwrite(fd, header.ljust(SIZE, b"\0"), 0)
    except BaseException:
        os.close(fd)
        path.unlink(missing_ok=True)
        raise
    return fd


def read(path: Path) -> Record:
    """Return the content of a record.

    Raises:
        MalformedMessage: the file is no record.
        OSError: it cannot be read.
    """
    return decode(path.read_bytes())


def is_held(path: Path) -> bool:
    """Return whether relay-pid1, or a worker that is about to start the execution, holds the record.

    If not, and `Record.drained` is None, then relay-pid1 is gone: the container ended before the execution did.

    Raises:
        OSError: the file cannot be opened.
    """
    return is_locked(path)


def decode(data: bytes) -> Record:
    """Return the content of a record that is given as bytes.

    Raises:
        MalformedMessage: the bytes are no record of this version, or contain a word that is none of the protocol.
    """
    if len(data) != SIZE:
        raise MalformedMessage(f"A record has {SIZE} bytes, not {len(data)}")
    magic, version, size, key = _HEADER.unpack_from(data)
    if (magic, version, size) != (_MAGIC, _VERSION, SIZE):
        raise MalformedMessage("The file does not begin as a record of version 1")
    return Record(Key.decode(key), _started(data), _ended(data), _drained(data))


def _started(data: bytes) -> Started | None:
    mark, pid, boottime, realtime, oom_kills = _STARTED.unpack_from(data, _STARTED_AT)
    return Started(pid, boottime, realtime, oom_count(oom_kills)) if mark else None


def _ended(data: bytes) -> Ended | None:
    mark, how, value, stage, flags, _, boottime, realtime, oom_kills = _ENDED.unpack_from(data, _ENDED_AT)
    if not mark:
        return None
    try:
        return Ended(How(how), value, Stage(stage), EndFlag(flags), boottime, realtime, oom_count(oom_kills))
    except ValueError as error:
        raise MalformedMessage(f"The end in the record is none of the protocol: {error}") from error


def _drained(data: bytes) -> Drained | None:
    mark, _ = struct.unpack_from("<II", data, _DRAINED_AT)
    if not mark:
        return None
    streams = (_STREAM.unpack_from(data, _DRAINED_AT + 8 + index * _STREAM.size) for index in range(2))
    stdout, stderr = (Stream(copied, dropped, errno, ended=True) for copied, dropped, errno, _ in streams)
    return Drained(stdout, stderr)
