"""The words of the protocol of relay-pid1: verbs, errors, keys and the header of every message."""

import struct
from dataclasses import dataclass
from enum import IntEnum, IntFlag
from typing import NamedTuple
from uuid import UUID

VERSION = 1
MOST_BYTES = 65_536
"""The maximum size of a message."""
MOST_DESCRIPTORS = 8
ANSWER = 0x8000
"""The bit that the verb of an answer has in addition to that of its request."""
HEADER = struct.Struct("<HHIQ")
_KEY_BYTES = 24


class MalformedMessage(ValueError):  # noqa: N818 - reads as what it says
    """Bytes that are no message, answer, event or record of the protocol."""


class Verb(IntEnum):
    """The kinds of messages."""

    START = 1
    STATUS = 2
    FORBID = 3
    SIGNAL = 4
    KILL = 5
    LEFTOVERS = 6
    DIAL = 7
    PTY = 8
    RESIZE = 9
    HELLO = 0x2001
    BIND = 0x2002
    READY = 0x2003
    EXITED = 0x4001
    DRAINED = 0x4002


class Error(IntEnum):
    """The reasons for which relay-pid1 does not carry out a request."""

    OK = 0
    MALFORMED = 1
    UNKNOWN_VERB = 2
    UNKNOWN_EXECUTION = 3
    EXISTS = 4
    FORBIDDEN = 5
    START_FAILED = 6
    PIDS_LIMIT = 7
    TOO_MANY = 8
    BAD_DESCRIPTOR = 9
    NOT_RUNNING = 10
    NO_TERMINAL = 11
    DIAL_FAILED = 12
    RESERVED_USER = 13
    NO_RESOURCES = 14


class Stage(IntEnum):
    """The part of a start that failed."""

    NONE = 0
    SUPERVISOR = 1
    STEP = 2
    SESSION = 3
    USER = 4
    CAPABILITIES = 5
    DIRECTORY = 6
    PROGRAM = 7


class StartFlag(IntFlag):
    """Options of a start, and the descriptors that come with it."""

    TTY = 0x01
    ROOT_CAPABILITIES = 0x02
    WATCH = 0x04
    STDOUT = 0x10
    STDERR = 0x20
    STDIN = 0x40
    SCRIPT = 0x80


@dataclass(frozen=True)
class Key:
    """One start of an execution."""

    execution_id: UUID
    fence: int
    """The fence of the owner that starts it, 0 to 2**64 - 1."""

    def encode(self) -> bytes:
        """Return the 24 bytes of the key."""
        return self.execution_id.bytes + struct.pack("<Q", self.fence)

    @classmethod
    def decode(cls, data: bytes) -> "Key":
        """Return the key that 24 bytes stand for.

        Raises:
            MalformedMessage: there are more or fewer bytes.
        """
        if len(data) != _KEY_BYTES:
            raise MalformedMessage(f"A key has {_KEY_BYTES} bytes, not {len(data)}")
        return cls(UUID(bytes=data[:16]), struct.unpack("<Q", data[16:])[0])


PID1_KEY = Key(UUID(int=0), 0)
"""The key that names no execution: its status is that of PID 1 itself."""


class Message(NamedTuple):
    """A message without its header."""

    verb: int
    """A `Verb`, with the bit `ANSWER` in an answer. Later versions of relay-pid1 may send others."""
    tag: int
    """Chosen by the client and repeated in the answer; 0 in events."""
    body: bytes


def encode_message(message: Message) -> bytes:
    """Return a message with its header.

    Raises:
        MalformedMessage: the message is longer than `MOST_BYTES`.
    """
    length = HEADER.size + len(message.body)
    if length > MOST_BYTES:
        raise MalformedMessage(f"A message has at most {MOST_BYTES} bytes; this one has {length}")
    return HEADER.pack(VERSION, message.verb, length, message.tag) + message.body


def decode_message(packet: bytes) -> Message:
    """Return the message that a packet contains.

    Raises:
        MalformedMessage: the packet has no whole header, another version, or another length than its header says.
    """
    if not HEADER.size <= len(packet) <= MOST_BYTES:
        raise MalformedMessage(f"A message has {HEADER.size} to {MOST_BYTES} bytes, not {len(packet)}")
    version, verb, length, tag = HEADER.unpack_from(packet)
    if version != VERSION:
        raise MalformedMessage(f"The message has version {version}; this program knows version {VERSION}")
    if length != len(packet):
        raise MalformedMessage(f"The header says {length} bytes; the message has {len(packet)}")
    return Message(verb, tag, packet[HEADER.size :])
