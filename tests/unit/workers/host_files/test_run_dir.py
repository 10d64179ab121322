"""A run directory against a container that does to it what it likes."""

import os
from uuid import uuid4

import pytest

from relay_core.domain.vocabulary import Stream
from relay_workers.host_files.run_dir import ExitRecord, Owner, RunDir, parse_exit, prepare_run_dir
from relay_workers.host_files.safe_dir import TamperedFile

ME = Owner(os.geteuid(), os.getegid())


@pytest.fixture
def run(tmp_path):
    run = RunDir(tmp_path, str(uuid4()), 1)
    prepare_run_dir(run, ME, b"true\n", b"in")
    return run


@pytest.fixture
def path(run):
    return run.workspace_dir / "runs" / run.execution_id / "1"


def test_all_that_the_supervisor_needs_is_there(run, path):
    assert {entry.name for entry in path.iterdir()} == {
        "step", "stdin", "stdout", "stderr", "exit", "alive", "stdout.fifo", "stderr.fifo",
    }  # fmt: skip
    assert run.container_path == f"/workspace/runs/{run.execution_id}/1"
    assert path.stat().st_mode & 0o777 == 0o700
    assert (path / "stdout.fifo").stat().st_mode & 0o777 == 0o622
    assert not os.access(path / "step", os.X_OK) or os.geteuid() == 0
    assert run.read_exit() is None
    assert not run.has_started()


def test_a_script_with_an_interpreter_is_executable(tmp_path):
    run = RunDir(tmp_path, "e", 1)
    prepare_run_dir(run, ME, b"#!/usr/bin/env python3\n")
    assert (tmp_path / "runs/e/1/step").stat().st_mode & 0o777 == 0o700


def test_what_a_crash_left_is_replaced_and_other_attempts_stay(run, path):
    (path / "started").mkdir()
    (path / "deep").mkdir()
    (path / "deep" / "file").write_text("x")
    prepare_run_dir(RunDir(run.workspace_dir, run.execution_id, 2), ME, b"true")
    prepare_run_dir(run, ME, b"true")
    assert not (path / "deep").exists()
    assert not run.has_started()
    run.remove()
    run.remove()
    assert [entry.name for entry in path.parent.iterdir()] == ["2"]


def test_one_of_both_takes_the_start(run, path):
    assert run.declare_never_started()
    assert run.declare_never_started()
    assert not run.has_started()


def test_a_started_run_cannot_be_declared_never_started(run, path):
    (path / "started").touch()  # as the supervisor does
    assert run.has_started()
    assert not run.declare_never_started()


def test_alive_tells_waiting_news_and_death(run, path):
    reader = run.open_alive()
    writer = os.open(path / "alive", os.O_RDWR)
    with pytest.raises(BlockingIOError):
        os.read(reader, 10)
    os.write(writer, b"s")
    assert os.read(reader, 10) == b"s"
    os.close(writer)
    assert os.read(reader, 10) == b""
    os.close(reader)


def replace_by_symlink(path, name):
    (path / name).unlink()
    (path / name).symlink_to("/etc/passwd")


def replace_by_fifo(path, name):
    (path / name).unlink()
    os.mkfifo(path / name)


def add_a_link(path, name):
    os.link(path / name, path / "second")


@pytest.mark.parametrize("tamper", [replace_by_symlink, replace_by_fifo, add_a_link])
def test_logs_and_records_that_are_not_ours_are_refused(run, path, tamper):
    tamper(path, "stdout")
    with pytest.raises(TamperedFile):
        run.open_log(Stream.STDOUT)
    (path / "second").unlink(missing_ok=True)
    tamper(path, "exit")
    with pytest.raises(TamperedFile):
        run.read_exit()


def test_a_log_of_another_inode_is_refused(run, path):
    fd, first = run.open_log(Stream.STDERR)
    (path / "stderr").rename(path / "old")
    (path / "stderr").touch()
    with pytest.raises(TamperedFile):
        run.open_log(Stream.STDERR, first)
    os.close(fd)


def test_a_giant_or_missing_exit_record_is_tampering(run, path):
    with (path / "exit").open("wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(TamperedFile):
        run.read_exit()
    (path / "exit").unlink()
    with pytest.raises(TamperedFile):
        run.read_exit()


def test_an_alive_that_is_no_fifo_is_refused(run, path):
    (path / "alive").unlink()
    (path / "alive").touch()
    with pytest.raises(TamperedFile):
        run.open_alive()


def test_nothing_is_made_or_removed_behind_a_symlink(tmp_path):
    elsewhere = tmp_path / "elsewhere"
    (elsewhere / "e" / "1").mkdir(parents=True)
    workspace = tmp_path / "workspace"
    workspace.mkdir()
    (workspace / "runs").symlink_to(elsewhere)
    run = RunDir(workspace, "e", 1)
    with pytest.raises(TamperedFile):
        prepare_run_dir(run, ME, b"true")
    with pytest.raises(TamperedFile):
        run.remove()
    assert list((elsewhere / "e" / "1").iterdir()) == []


WHOLE = b"code=7\noom_before=1\noom_after=2\ncopier=ok\nend\n"


def test_a_record_is_read_with_and_without_its_second_part():
    assert parse_exit(WHOLE + b" " * 100) == ExitRecord(7, 1, 2, copier_failed=False, drained=False)
    second = parse_exit(WHOLE + b"stdout_copier=0\nstderr_copier=137\ndrained\n" + b" " * 100)
    assert second == ExitRecord(7, 1, 2, copier_failed=False, drained=True, stdout_copier=0, stderr_copier=137)
    assert second is not None
    assert second.oom_killed
    assert second.lost_output


@pytest.mark.parametrize("cut", range(0, len(WHOLE) - 1, 5))
def test_an_unfinished_record_is_none(cut):
    assert parse_exit(WHOLE[:cut] + b" " * (512 - cut)) is None


def test_what_the_supervisor_could_not_read_or_start_is_none():
    record = parse_exit(b"code=\noom_before=\noom_after=\ncopier=failed\nend\n")
    assert record == ExitRecord(None, None, None, copier_failed=True, drained=False)


@pytest.mark.parametrize("line", [b"code=256", b"code=-1", b"code=1e3", b"oom_after=x", b"stdout_copier=0x1"])
def test_nonsense_is_tampering(line):
    with pytest.raises(TamperedFile):
        parse_exit(line + b"\nend\n")
