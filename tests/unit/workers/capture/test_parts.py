"""The parts of the capture that need no service: digests, one stream, entries of the live tail."""

import hashlib
import os
from pathlib import Path
from uuid import UUID

import pytest

from relay_core.domain.logs.append import Append, StoredAppend
from relay_core.live_log.redis_entries import BURST_BYTES, ENTRY_BYTES, entries, piece_for
from relay_workers.capture.digests import Digests
from relay_workers.capture.stream import READ_BYTES, CapturedStream
from relay_workers.host_files.safe_dir import SafeDir, TamperedFile


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def test_digests_of_one_and_of_two_streams() -> None:
    digests = Digests()
    assert set(digests.hexdigests().values()) == {_sha256(b"")}
    digests.update("stderr", b"e1")
    assert digests.hexdigests() == {"stdout": _sha256(b""), "stderr": _sha256(b"e1"), "all": _sha256(b"e1")}
    digests.update("stdout", b"o1")
    digests.update("stderr", b"e2")
    assert digests.hexdigests() == {"stdout": _sha256(b"o1"), "stderr": _sha256(b"e1e2"), "all": _sha256(b"e1o1e2")}


def _stream(folder: Path, stored: int = 0, secrets: tuple[bytes, ...] = ()) -> CapturedStream:
    with SafeDir.open(folder) as directory:
        return CapturedStream("stdout", directory.open_file("stdout"), stored, secrets)


def test_a_turn_that_does_not_reach_the_end_ends_at_a_line(tmp_path: Path) -> None:
    data = b"x" * 99 + b"\n"
    (tmp_path / "stdout").write_bytes(data * 20_000)
    stream = _stream(tmp_path)
    first = stream.take(stream.size())
    assert READ_BYTES - 100 < len(first) <= READ_BYTES
    assert first.endswith(b"\n")
    assert first + stream.take(stream.size()) == data * 20_000
    stream.close()
    stream.close()


def test_a_line_longer_than_a_turn_is_cut_where_the_turn_ends(tmp_path: Path) -> None:
    (tmp_path / "stdout").write_bytes(b"\n" + b"x" * (2 * READ_BYTES))
    stream = _stream(tmp_path)
    assert len(stream.take(stream.size())) == READ_BYTES
    stream.close()


def test_a_stream_goes_on_inside_a_secret(tmp_path: Path) -> None:
    (tmp_path / "stdout").write_bytes(b"ab secret-value cd")
    stream = _stream(tmp_path, stored=9, secrets=(b"secret-value",))
    assert stream.take(stream.size()) + stream.rest() == b"****** cd"
    assert stream.read == 18
    stream.close()


def test_a_file_shorter_than_what_was_read_is_no_longer_ours(tmp_path: Path) -> None:
    (tmp_path / "stdout").write_bytes(b"abc")
    stream = _stream(tmp_path)
    stream.take(3)
    os.truncate(tmp_path / "stdout", 1)
    assert stream.has_changed()
    with pytest.raises(TamperedFile, match="cut from 3 to 1"):
        stream.size()
    stream.close()


def _stored(start: int, data: bytes, stream: str = "stdout", all_offset: int | None = None) -> StoredAppend:
    return StoredAppend(Append(UUID(int=1), 1, stream, start, data), start if all_offset is None else all_offset, 0)


def test_entries_are_small_in_order_and_numbered_by_their_end() -> None:
    found = entries([_stored(5, bytes(ENTRY_BYTES + 1)), _stored(0, b"e", "stderr", ENTRY_BYTES + 6)])
    assert [(one.stream, one.offset, one.all_offset, len(one.data)) for one in found] == [
        ("stdout", 5, 5, ENTRY_BYTES),
        ("stdout", ENTRY_BYTES + 5, ENTRY_BYTES + 5, 1),
        ("stderr", 0, ENTRY_BYTES + 6, 1),
    ]
    assert [one.entry_id for one in found] == ["32773-0", "32774-0", "32775-0"]


def test_of_a_burst_only_the_newest_is_published() -> None:
    found = entries([_stored(0, bytes(BURST_BYTES)), _stored(BURST_BYTES, b"end")])
    assert found[-1].data == b"end"
    assert sum(len(one.data) for one in found) <= BURST_BYTES
    assert found[0].offset > 0


@pytest.mark.parametrize(
    ("stream", "offset", "expected"),
    [
        ("stdout", 10, (10, b"abc")),
        ("stdout", 11, (11, b"bc")),
        ("stdout", 13, (13, b"")),
        ("stdout", 20, (20, b"")),
        ("stdout", 9, None),
        ("stderr", 4, (4, b"")),
        ("all", 50, (50, b"abc")),
        ("all", 49, None),
    ],
)
def test_what_an_entry_is_for_a_reader(stream: str, offset: int, expected: tuple[int, bytes] | None) -> None:
    fields = {b"stream": b"stdout", b"offset": b"10", b"all": b"50", b"data": b"abc"}
    piece = piece_for(fields, stream, offset)
    assert (piece and (piece.offset, piece.data)) == expected


def test_the_end_mark_sends_a_reader_to_postgres() -> None:
    assert piece_for({b"end": b"1"}, "all", 0) is None
