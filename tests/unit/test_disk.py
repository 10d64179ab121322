"""What of a workspace counts, and who is ended when the disk is nearly full."""

import os
from uuid import UUID

from relay_workers.capture.pump import Backlog
from relay_workers.disk import to_end_under_pressure, used_bytes

ONE, TWO = UUID(int=1), UUID(int=2)


def test_what_is_used_is_blocks_and_each_file_once(tmp_path):
    (tmp_path / "file").write_bytes(b"x" * (1 << 20))
    os.link(tmp_path / "file", tmp_path / "again")
    (tmp_path / "everything").symlink_to("/")
    with (tmp_path / "hole").open("wb") as hole:
        hole.truncate(1 << 40)
    used = used_bytes(tmp_path)
    assert used is not None
    assert 1 << 20 <= used < 2 << 20


def test_what_is_gone_cannot_be_measured(tmp_path):
    assert used_bytes(tmp_path / "gone") is None


def test_the_largest_raw_files_have_to_go():
    assert to_end_under_pressure({ONE: Backlog(10, 10), TWO: Backlog(0, 1000)}) == TWO
    assert to_end_under_pressure({ONE: Backlog(0, 2000), TWO: Backlog(1000, 1000)}) == ONE


def test_nobody_is_ended_whose_end_would_free_nothing():
    assert to_end_under_pressure({}) is None
    assert to_end_under_pressure({ONE: Backlog(0, 0)}) is None
