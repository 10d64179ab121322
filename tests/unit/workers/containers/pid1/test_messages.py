"""The bytes of messages: those of the protocol page, and none that are not."""

import contextlib
import struct
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay_workers.containers.pid1 import answers
from relay_workers.containers.pid1.answers import EndFlag, How, Leftover, LeftoverList, Refusal, State, Stream
from relay_workers.containers.pid1.messages import (
    MOST_BYTES,
    Error,
    Key,
    MalformedMessage,
    Message,
    Stage,
    StartFlag,
    decode_message,
    encode_message,
)
from relay_workers.containers.pid1.requests import (
    Dial,
    Forbid,
    Kill,
    Leftovers,
    Pty,
    Resize,
    Signal,
    Start,
    Status,
)

u16, u32, u64 = (st.integers(0, 2**bits - 1) for bits in (16, 32, 64))
keys = st.builds(Key, st.uuids(), u64)
KEY = Key(UUID(bytes=bytes(range(16))), 0x1122334455667788)
KEY_BYTES = bytes(range(16)) + bytes.fromhex("8877665544332211")


@given(st.builds(Message, u16, u64, st.binary(max_size=200)))
def test_a_message_is_read_as_it_was_written(message):
    assert decode_message(encode_message(message)) == message


def test_the_header_is_that_of_the_protocol():
    assert encode_message(Message(0x0203, 0x1122334455667788, b"body")) == (
        b"\x01\x00" + b"\x03\x02" + b"\x14\x00\x00\x00" + b"\x88\x77\x66\x55\x44\x33\x22\x11" + b"body"
    )


def test_a_message_that_is_too_long_is_not_written():
    encode_message(Message(1, 1, bytes(MOST_BYTES - 16)))
    with pytest.raises(MalformedMessage, match="at most 65536 bytes; this one has 65537"):
        encode_message(Message(1, 1, bytes(MOST_BYTES - 15)))


@given(st.binary(max_size=300))
def test_any_packet_is_read_or_refused(packet):
    try:
        message = decode_message(packet)
    except MalformedMessage:
        return
    assert encode_message(message) == packet


@given(st.binary(max_size=300))
@pytest.mark.parametrize(
    "decode",
    [
        answers.decode_answer,
        answers.decode_number,
        answers.decode_kill,
        answers.decode_leftovers,
        answers.decode_pid1_status,
        answers.decode_status,
    ],
)
def test_any_body_is_read_or_refused(decode, body):
    with contextlib.suppress(MalformedMessage):
        decode(body)


@given(keys)
def test_a_key_is_read_as_it_was_written(key):
    assert Key.decode(key.encode()) == key


@pytest.mark.parametrize(
    ("request_", "verb", "body"),
    [
        (Status(KEY), 2, KEY_BYTES + bytes(8)),
        (Status(KEY, watch=True), 2, KEY_BYTES + b"\x04" + bytes(7)),
        (Forbid(KEY), 3, KEY_BYTES),
        (Signal(KEY, 15), 4, KEY_BYTES + b"\x0f\0\0\0" + bytes(4)),
        (Signal(KEY, 9, whole_execution=True), 4, KEY_BYTES + b"\x09\0\0\0" + b"\x01\0\0\0"),
        (Kill(KEY, 2500), 5, KEY_BYTES + b"\xc4\x09\0\0" + bytes(4)),
        (Leftovers(KEY), 6, KEY_BYTES),
        (Dial(8080), 7, b"\x90\x1f" + bytes(6)),
        (Pty(KEY), 8, KEY_BYTES),
        (Resize(KEY, 80, 24), 9, KEY_BYTES + b"\x50\0\x18\0" + bytes(4)),
    ],
    ids=lambda value: type(value).__name__,
)
def test_requests_have_the_bytes_of_the_protocol(request_, verb, body):
    assert (request_.verb, request_.body()) == (verb, body)


def test_a_start_has_the_bytes_of_the_protocol():
    flags = StartFlag.TTY | StartFlag.WATCH | StartFlag.STDOUT | StartFlag.SCRIPT
    start = Start(
        KEY, uid=1000, gid=70_001, flags=flags, groups=(5, 6), deadline_ms=2**33, grace_ms=10, columns=80, rows=24
    )
    offsets = {16: KEY_BYTES, 40: 1000, 44: 70_001, 48: 0x95, 52: 2, 64: 10, 72: 5, 76: 6}
    packet = encode_message(Message(start.verb, 1, start.body()))
    assert len(packet) == 72 + 2 * 4
    for offset, value in offsets.items():
        expected = value if isinstance(value, bytes) else struct.pack("<I", value)
        assert packet[offset : offset + len(expected)] == expected, offset
    assert packet[56:64] == struct.pack("<Q", 2**33)
    assert packet[68:72] == struct.pack("<HH", 80, 24)
    with pytest.raises(ValueError, match="at most 64 supplementary groups, not 65"):
        Start(KEY, 1, 1, StartFlag(0), groups=tuple(range(65))).body()


def test_an_answer_is_a_refusal_or_its_body():
    assert answers.decode_answer(bytes(16) + b"rest") == b"rest"
    assert answers.decode_answer(struct.pack("<IIII", 6, 2, 7, 0)) == Refusal(Error.START_FAILED, 2, Stage.PROGRAM)
    with pytest.raises(MalformedMessage, match="99 is no Error of the protocol"):
        answers.decode_answer(struct.pack("<IIII", 99, 0, 0, 0))


def test_a_status_is_read_at_the_offsets_of_the_protocol():
    body = KEY_BYTES + struct.pack("<IIIIII", 4, 17, 2, 9, 0, 0b11) + struct.pack("<qqQQ", 3, -1, 100, 200)
    body += struct.pack("<QQII", 10, 5, 28, 1) + struct.pack("<QQII", 7, 0, 0, 0)
    found = answers.decode_status(body)
    assert len(body) == 128
    assert (found.key, found.state, found.pid, found.how, found.value) == (KEY, State.DRAINED, 17, How.SIGNALLED, 9)
    assert found.flags == EndFlag.KILL_ASKED | EndFlag.KILL_SENT
    assert (found.oom_kills_before, found.oom_kills_after) == (3, None)
    assert (found.started_ns, found.ended_ns) == (100, 200)
    assert (found.stdout, found.stderr) == (Stream(10, 5, 28, ended=True), Stream(7, 0, 0, ended=False))


@given(u32, st.lists(st.tuples(u32, st.binary(max_size=15).filter(lambda name: b"\0" not in name)), max_size=256))
def test_leftovers_are_read_as_they_were_written(count, entries):
    body = struct.pack("<II", count, len(entries))
    body += b"".join(struct.pack("<I16s", pid, name) for pid, name in entries)
    names = tuple(Leftover(pid, name.decode("utf-8", "replace")) for pid, name in entries)
    assert answers.decode_leftovers(body) == LeftoverList(count, names)
    for cut in (body[:-1], body + b"\0"):
        with pytest.raises(MalformedMessage):
            answers.decode_leftovers(cut)
