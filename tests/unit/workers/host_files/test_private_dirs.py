"""Directories of a node are closed to other accounts, also those that were made open."""

import stat

import pytest

from relay_workers.host_files.private_dirs import PRIVATE, DirectoryNotPrivate, close_to_others


def test_they_are_made_closed_and_open_ones_are_closed(tmp_path):
    (tmp_path / "workspaces").mkdir(mode=0o755)
    (tmp_path / "workspaces").chmod(0o755)
    assert close_to_others(tmp_path) == ["workspaces"]
    assert {stat.S_IMODE((tmp_path / name).stat().st_mode) for name in PRIVATE} == {0o700}
    assert close_to_others(tmp_path) == []


def test_a_link_is_refused_and_where_it_points_stays_as_it_is(tmp_path):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir(mode=0o755)
    elsewhere.chmod(0o755)
    (tmp_path / "stores").symlink_to(elsewhere)
    with pytest.raises(DirectoryNotPrivate, match=r"stores is a link"):
        close_to_others(tmp_path)
    assert stat.S_IMODE(elsewhere.stat().st_mode) == 0o755
