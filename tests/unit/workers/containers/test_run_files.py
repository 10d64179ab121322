"""The log files and the record of a start, as a worker makes, opens and removes them."""

import os
from contextlib import ExitStack
from uuid import uuid4

import pytest

from relay_core.domain.vocabulary import Stream
from relay_workers.containers.pid1.record import is_held
from relay_workers.containers.run_files import RunFiles, executions_with_files, remove_files
from relay_workers.host_files.safe_dir import TamperedFile


@pytest.fixture
def files(tmp_path):
    files = RunFiles(tmp_path, uuid4(), 3)
    files.create()
    return files


def test_the_files_are_the_workers_own(files):
    assert {path.name for path in files.directory.iterdir()} == {"stdout", "stderr", "record"}
    assert {path.stat().st_mode & 0o777 for path in files.directory.iterdir()} == {0o600}
    assert files.directory.stat().st_mode & 0o777 == 0o700
    record = files.read_record()
    assert (record.key, record.started) == (files.key, None)


def test_a_start_holds_the_record_until_the_last_copy_is_closed(files):
    record = files.directory / "record"
    assert not is_held(record)
    with ExitStack() as closing:
        held = files.open_for_start(closing)
        copy = os.dup(held.record)
        assert is_held(record)
    assert is_held(record), "relay-pid1 has a copy"
    os.close(copy)
    assert not is_held(record)


def test_the_files_of_a_start_are_made_once(files):
    with pytest.raises(FileExistsError):
        files.create()


def test_a_line_of_relay_is_appended(files):
    (files.directory / "stderr").write_bytes(b"said\n")
    files.append(Stream.STDERR, b"relay: more\n")
    file = files.open_log(Stream.STDERR)
    assert os.pread(file.fd, 100, 0) == b"said\nrelay: more\n"
    os.close(file.fd)


def test_a_log_that_is_no_file_of_its_own_is_not_opened(files):
    os.link(files.directory / "stdout", files.directory / "second")
    with pytest.raises(TamperedFile):
        files.open_log(Stream.STDOUT)


def test_files_of_one_start_and_of_an_execution_are_removed(tmp_path, files):
    later = RunFiles(tmp_path, files.execution_id, 4)
    later.create()
    files.remove()
    files.remove()
    assert files.read_record() is None
    assert executions_with_files(tmp_path) == [files.execution_id]
    remove_files(tmp_path, files.execution_id)
    remove_files(tmp_path, files.execution_id)
    assert executions_with_files(tmp_path) == []
