"""The record of an execution, and what its lock says about the life of relay-pid1."""

import contextlib
import os
import struct
import subprocess
from uuid import uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay_workers.containers.pid1 import record
from relay_workers.containers.pid1.answers import EndFlag, How, Stream
from relay_workers.containers.pid1.messages import Key, MalformedMessage, Stage
from relay_workers.containers.pid1.record import Drained, Ended, Record, Started

KEY = Key(uuid4(), 3)


def test_a_new_record_is_whole_and_says_nothing(tmp_path):
    fd = record.create(tmp_path / "record", KEY)
    try:
        status = os.fstat(fd)
        assert (status.st_size, status.st_mode & 0o777) == (512, 0o600)
        assert status.st_blocks  # no hole
        assert record.read(tmp_path / "record") == Record(KEY)
    finally:
        os.close(fd)


def test_the_sections_are_read_at_the_offsets_of_the_protocol(tmp_path):
    path = tmp_path / "record"
    fd = record.create(path, KEY)
    os.pwrite(fd, struct.pack("<IIQQq", 1, 17, 100, 200, -1), 64)
    started = Started(17, 100, 200, None)
    assert record.read(path) == Record(KEY, started)
    os.pwrite(fd, struct.pack("<IIIIIIQQq", 1, 1, 7, 0, 4, 0, 300, 400, 5), 128)
    ended = Ended(How.EXITED, 7, Stage.NONE, EndFlag.DEADLINE_PASSED, 300, 400, 5)
    assert record.read(path) == Record(KEY, started, ended)
    os.pwrite(fd, struct.pack("<II", 1, 0) + struct.pack("<QQII", 10, 2, 28, 0) + struct.pack("<QQII", 3, 0, 0, 0), 256)
    drained = Drained(Stream(10, 2, 28, ended=True), Stream(3, 0, 0, ended=True))
    assert record.read(path) == Record(KEY, started, ended, drained)
    os.close(fd)


@given(st.binary(min_size=472, max_size=472))
def test_any_content_is_read_or_refused(rest):
    content = struct.pack("<8sII", b"RELAYREC", 1, 512) + KEY.encode() + rest
    with contextlib.suppress(MalformedMessage):
        assert record.decode(content).key == KEY


@pytest.mark.parametrize("content", [b"", bytes(512), b"RELAYREC" + bytes(504), b"RELAYREC" * 65])
def test_another_file_is_refused(content):
    with pytest.raises(MalformedMessage):
        record.decode(content)


def test_an_existing_file_is_not_touched(tmp_path):
    (tmp_path / "record").write_text("mine")
    (tmp_path / "link").symlink_to(tmp_path / "none")
    for name in ("record", "link"):
        with pytest.raises(FileExistsError):
            record.create(tmp_path / name, KEY)
    assert (tmp_path / "record").read_text() == "mine"
    assert not (tmp_path / "none").exists()


def test_a_record_is_held_as_long_as_a_process_has_a_copy_of_its_descriptor(tmp_path):
    path = tmp_path / "record"
    fd = record.create(path, KEY)
    holder = subprocess.Popen(["cat"], stdin=subprocess.PIPE, stdout=fd, pass_fds=[fd])
    os.close(fd)
    try:
        assert record.is_held(path)
        assert record.is_held(path)  # looking at it changes nothing
    finally:
        holder.communicate()
    assert not record.is_held(path)


def test_a_record_that_cannot_be_written_leaves_no_file(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "pwrite", full)
    with pytest.raises(OSError, match="No space left"):
        record.create(tmp_path / "record", KEY)
    assert not (tmp_path / "record").exists()
