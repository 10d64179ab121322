"""Requests to relay-pid1, each with its bytes."""

import struct
from dataclasses import dataclass
from typing import ClassVar

from relay_workers.containers.pid1.messages import Key, StartFlag, Verb

_START = struct.Struct("<IIIIQIHH")
_MOST_GROUPS = 64


@dataclass(frozen=True)
class Start:
    """Start a step. Descriptors are sent in the order words, record, then those that `flags` names."""

    verb: ClassVar = Verb.START
    key: Key
    uid: int
    gid: int
    """The gid of this execution alone."""
    flags: StartFlag
    groups: tuple[int, ...] = ()
    deadline_ms: int = 0
    """Milliseconds after which PID 1 itself kills the execution; 0 for no limit."""
    grace_ms: int = 0
    """Milliseconds between TERM and KILL of that kill."""
    columns: int = 0
    rows: int = 0

    def body(self) -> bytes:
        """Return the bytes after the header.

        Raises:
            ValueError: there are more than 64 groups.
        """
        if len(self.groups) > _MOST_GROUPS:
            raise ValueError(f"A step has at most {_MOST_GROUPS} supplementary groups, not {len(self.groups)}")
        numbers = (self.uid, self.gid, self.flags, len(self.groups), self.deadline_ms, self.grace_ms)
        fixed = _START.pack(*numbers, self.columns, self.rows)
        return self.key.encode() + fixed + struct.pack(f"<{len(self.groups)}I", *self.groups)


@dataclass(frozen=True)
class Status:
    """Ask for the state of an execution, or with `messages.PID1_KEY` of PID 1."""

    verb: ClassVar = Verb.STATUS
    key: Key
    watch: bool = False
    """Whether the connection also gets the events of the execution, past ones too."""

    def body(self) -> bytes:
        """Return the bytes after the header."""
        return self.key.encode() + struct.pack("<II", StartFlag.WATCH if self.watch else 0, 0)


@dataclass(frozen=True)
class Forbid:
    """Declare that this start never happens."""

    verb: ClassVar = Verb.FORBID
    key: Key

    def body(self) -> bytes:
        """Return the bytes after the header."""
        return self.key.encode()


@dataclass(frozen=True)
class Signal:
    """Send a signal to the step's first process, or to all processes of the execution."""

    verb: ClassVar = Verb.SIGNAL
    key: Key
    number: int
    """1 to 64."""
    whole_execution: bool = False

    def body(self) -> bytes:
        """Return the bytes after the header."""
        return self.key.encode() + struct.pack("<II", self.number, self.whole_execution)


@dataclass(frozen=True)
class Kill:
    """Kill all processes of the execution: TERM, grace, KILL until none is left."""

    verb: ClassVar = Verb.KILL
    key: Key
    grace_ms: int

    def body(self) -> bytes:
        """Return the bytes after the header."""
        return self.key.encode() + struct.pack("<II", self.grace_ms, 0)


@dataclass(frozen=True)
class Leftovers:
    """Ask for the processes of the execution besides the step's first one."""

    verb: ClassVar = Verb.LEFTOVERS
    key: Key

    def body(self) -> bytes:
        """Return the bytes after the header."""
        return self.key.encode()


@dataclass(frozen=True)
class Dial:
    """Connect to a port of the container's loopback address; the answer carries the socket."""

    verb: ClassVar = Verb.DIAL
    port: int

    def body(self) -> bytes:
        """Return the bytes after the header."""
        return struct.pack("<H6x", self.port)


@dataclass(frozen=True)
class Pty:
    """Ask for the master of the execution's terminal; the answer carries it."""

    verb: ClassVar = Verb.PTY
    key: Key

    def body(self) -> bytes:
        """Return the bytes after the header."""
        return self.key.encode()


@dataclass(frozen=True)
class Resize:
    """Change the size of the execution's terminal."""

    verb: ClassVar = Verb.RESIZE
    key: Key
    columns: int
    rows: int

    def body(self) -> bytes:
        """Return the bytes after the header."""
        return self.key.encode() + struct.pack("<HHI", self.columns, self.rows, 0)


Request = Start | Status | Forbid | Signal | Kill | Leftovers | Dial | Pty | Resize
