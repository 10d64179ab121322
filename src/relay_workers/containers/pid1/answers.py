"""Answers and events of relay-pid1, read from their bytes. The bytes come from a program that Relay trusts.

Names of processes in them do not: the processes choose them.
"""

import struct
from dataclasses import dataclass
from enum import IntEnum, IntFlag
from typing import TypeVar

from relay_workers.containers.pid1.messages import Error, Key, MalformedMessage, Stage

_ANSWER = struct.Struct("<IIII")
_STATUS = struct.Struct("<24sIIIIIIqqQQ")
_STREAM = struct.Struct("<QQII")
_PID1 = struct.Struct("<IIIIQ")
_ENTRY = struct.Struct("<I16s")
_Word = TypeVar("_Word", bound=IntEnum)


class State(IntEnum):
    """The states of an execution, in their order."""

    STARTING = 1
    RUNNING = 2
    ENDED = 3
    """The step's process is gone; its streams may still be open."""
    DRAINED = 4
    """Nothing more is written to the files of the execution."""
    FORBIDDEN = 5


class How(IntEnum):
    """The ways in which a step ends."""

    NOT_YET = 0
    EXITED = 1
    SIGNALLED = 2
    SUPERVISOR_LOST = 3
    START_FAILED = 4


class EndFlag(IntFlag):
    """Facts about the end of an execution."""

    KILL_ASKED = 1
    KILL_SENT = 2
    """PID 1 sent KILL before the step ended."""
    DEADLINE_PASSED = 4
    SUPERVISOR_LIVES = 8


@dataclass(frozen=True)
class Stream:
    """The bytes of one stream of a step."""

    copied: int
    dropped: int
    """The bytes that were read and not written, because a write had failed."""
    errno: int
    """The errno of the first failed write, or 0."""
    ended: bool


@dataclass(frozen=True)
class ExecutionStatus:
    """The state of one start of an execution."""

    key: Key
    state: State
    pid: int
    """The pid of the step in its container, or 0."""
    how: How
    value: int
    """The exit code (`How.EXITED`), the signal (`How.SIGNALLED`) or the errno (`How.START_FAILED`)."""
    stage: Stage
    flags: EndFlag
    oom_kills_before: int | None
    """The container's count before the start; None if it is unknown."""
    oom_kills_after: int | None
    started_ns: int
    """`CLOCK_BOOTTIME` in nanoseconds, or 0."""
    ended_ns: int
    stdout: Stream
    stderr: Stream


@dataclass(frozen=True)
class Pid1Status:
    """The state of relay-pid1 itself."""

    version: int
    live_executions: int
    connections: int
    strays_killed: int
    """The number of processes that belonged to no execution and were killed."""
    uptime_ms: int


@dataclass(frozen=True)
class Refusal:
    """The answer to a request that was not carried out."""

    error: Error
    errno: int
    """The errno of the failed system call, or 0."""
    stage: Stage


@dataclass(frozen=True)
class Leftover:
    """A process that a step started."""

    pid: int
    """The pid in the container."""
    name: str
    """At most 15 bytes; the process chooses it, so it is untrusted text."""


@dataclass(frozen=True)
class LeftoverList:
    """The processes of an execution besides the step's first one."""

    count: int
    listed: tuple[Leftover, ...]
    """At most 256 of them."""


@dataclass(frozen=True)
class KillAnswer:
    """The result of a kill: no process is left."""

    looks: int
    """The number of times the process table was read."""
    kills: int
    """The number of signals KILL that were sent."""


def decode_answer(body: bytes) -> Refusal | bytes:
    """Return the refusal of an answer, or the bytes that follow the fields of every answer.

    Raises:
        MalformedMessage: the fields are incomplete, or the error or stage is none of the protocol.
    """
    if len(body) < _ANSWER.size:
        raise MalformedMessage(f"An answer has at least {_ANSWER.size} bytes after its header, not {len(body)}")
    error, errno, stage, _ = _ANSWER.unpack_from(body)
    if error == Error.OK:
        return body[_ANSWER.size :]
    return Refusal(_member(Error, error), errno, _member(Stage, stage))


def decode_number(body: bytes) -> int:
    """Return the number in the body of an answer to ``start``, ``signal`` or ``dial``.

    Raises:
        MalformedMessage: the body has another size.
    """
    number, _ = _exactly(struct.Struct("<II"), body)
    return int(number)


def decode_kill(body: bytes) -> KillAnswer:
    """Return the result in the body of an answer to ``kill``.

    Raises:
        MalformedMessage: the body has another size.
    """
    return KillAnswer(*_exactly(struct.Struct("<II"), body))


def decode_leftovers(body: bytes) -> LeftoverList:
    """Return the processes in the body of an answer to ``leftovers``.

    Raises:
        MalformedMessage: the body does not have the number of entries that it states.
    """
    if len(body) < 8:
        raise MalformedMessage("An answer to leftovers has at least 8 bytes")
    count, listed = struct.unpack_from("<II", body)
    if len(body) != 8 + listed * _ENTRY.size:
        raise MalformedMessage(f"An answer to leftovers states {listed} entries and has {len(body)} bytes")
    found = (_ENTRY.unpack_from(body, 8 + index * _ENTRY.size) for index in range(listed))
    return LeftoverList(count, tuple(Leftover(pid, _name(name)) for pid, name in found))


def decode_pid1_status(body: bytes) -> Pid1Status:
    """Return the state in the body of an answer to ``status`` of the all-zero key.

    Raises:
        MalformedMessage: the body has another size.
    """
    return Pid1Status(*_exactly(_PID1, body))


def decode_status(body: bytes) -> ExecutionStatus:
    """Return the state in the body of an answer to ``status``, or of an event.

    Raises:
        MalformedMessage: the body has another size, or a word that is none of the protocol.
    """
    if len(body) != _STATUS.size + 2 * _STREAM.size:
        raise MalformedMessage(f"A status has {_STATUS.size + 2 * _STREAM.size} bytes, not {len(body)}")
    key, state, pid, how, value, stage, flags, before, after, started, ended = _STATUS.unpack_from(body)
    return ExecutionStatus(
        key=Key.decode(key),
        state=_member(State, state),
        pid=pid,
        how=_member(How, how),
        value=value,
        stage=_member(Stage, stage),
        flags=EndFlag(flags),
        oom_kills_before=oom_count(before),
        oom_kills_after=oom_count(after),
        started_ns=started,
        ended_ns=ended,
        stdout=_stream(body, _STATUS.size),
        stderr=_stream(body, _STATUS.size + _STREAM.size),
    )


def oom_count(value: int) -> int | None:
    """Return a count of oom kills as the protocol writes it; None if it is unknown."""
    return None if value < 0 else value


def _stream(body: bytes, offset: int) -> Stream:
    copied, dropped, errno, ended = _STREAM.unpack_from(body, offset)
    return Stream(copied, dropped, errno, bool(ended))


def _name(raw: bytes) -> str:
    return raw.partition(b"\0")[0].decode("utf-8", "replace")


def _exactly(layout: struct.Struct, body: bytes) -> tuple[int, ...]:
    if len(body) != layout.size:
        raise MalformedMessage(f"The body of this answer has {layout.size} bytes, not {len(body)}")
    return layout.unpack(body)


def _member(words: type[_Word], value: int) -> _Word:
    try:
        return words(value)
    except ValueError as error:
        raise MalformedMessage(f"{value} is no {words.__name__} of the protocol") from error
