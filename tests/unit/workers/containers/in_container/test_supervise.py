"""The supervisor under each shell that is here, without a container."""

import os
import select
import shutil
import signal
import subprocess
from dataclasses import dataclass
from importlib.resources import as_file, files
from pathlib import Path
from uuid import uuid4

import pytest

from relay_core.domain.vocabulary import Stream
from relay_workers.host_files.run_dir import Owner, RunDir, prepare_run_dir

ME = Owner(os.geteuid(), os.getegid())
SHELLS = [
    shell for shell in (["dash"], ["bash"], ["bash", "--posix"], ["busybox", "sh"], ["sh"]) if shutil.which(shell[0])
]


@dataclass
class Supervised:
    run: RunDir
    process: subprocess.Popen
    alive: int

    def log(self, stream=Stream.STDOUT):
        fd, _ = self.run.open_log(stream)
        with os.fdopen(fd, "rb") as file:
            return file.read()

    def until(self, byte=b""):
        said = b""
        poll = select.poll()  # select() knows no descriptor above 1023
        poll.register(self.alive, select.POLLIN)
        while True:
            assert poll.poll(20_000)
            data = os.read(self.alive, 64)
            said += data
            if not data or (byte and byte in said):
                return said


@pytest.fixture(params=SHELLS, ids=" ".join)
def supervise(request, tmp_path):
    made = []

    def start(script, stdin=b"", prepare=None, cwd="/", seconds=()):
        run = RunDir(tmp_path, str(uuid4()), 1)
        prepare_run_dir(run, ME, script.encode(), stdin)
        directory = tmp_path / "runs" / run.execution_id / "1"
        if prepare:
            prepare(run, directory)
        alive = run.open_alive()
        with as_file(files("relay_workers.containers.in_container").joinpath("supervise.sh")) as supervisor:
            arguments = [supervisor, directory, cwd, *seconds]
            process = subprocess.Popen([*request.param, *arguments], stderr=subprocess.DEVNULL)
        made.append(Supervised(run, process, alive))
        return made[-1]

    yield start
    for step in made:
        step.process.kill()
        step.process.wait()
        os.close(step.alive)


def test_a_step_its_streams_and_its_code(supervise):
    step = supervise("cat; echo err >&2; exit 7", b"hello")
    assert step.until() == b"sx"
    assert step.process.wait(10) == 7
    assert step.log() == b"hello"
    assert step.log(Stream.STDERR) == b"err\n"
    record = step.run.read_exit()
    assert (record.code, record.drained, record.lost_output) == (7, True, False)
    assert step.run.has_started()


def test_reopening_the_streams_loses_nothing(supervise):
    step = supervise("echo 1 >&2; echo 2 >/dev/stderr; echo 3 | tee /dev/stderr; echo 4 >/dev/stdout; echo 5 >&2")
    step.until()
    assert step.log(Stream.STDERR) == b"1\n2\n3\n5\n"
    assert step.log() == b"3\n4\n"


def test_the_step_has_default_signals_and_only_its_own_descriptors(supervise):
    step = supervise("grep -E '^Sig(Blk|Ign)' /proc/self/status; readlink /proc/$$/fd/*")
    step.until()
    blocked, ignored, *links = step.log().decode().splitlines()
    assert int(blocked.split()[1], 16) == 0
    # CHLD may be inherited from whoever runs this test; nothing else is.
    assert int(ignored.split()[1], 16) & ~(1 << (signal.SIGCHLD - 1)) == 0
    own = {link.rsplit("/", 1)[1] for link in links if step.run.execution_id in link}
    assert own == {"stdin", "stdout.fifo", "stderr.fifo", "step"}


def test_an_interpreter_line_is_followed(supervise):
    step = supervise("#!/usr/bin/env python3\nimport sys\nsys.exit(print('py', sys.argv[1:]))\n")
    step.until()
    assert step.log() == b"py []\n"


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("#!/no/such/interpreter -x", "asks for /no/such/interpreter, which is no program here\n"),
        ("#! /no/such", "asks for /no/such, which is no program here\n"),
        ("#!/bin/sh\r", "/bin/sh\r, which is no program here: the line ends with a carriage return"),
    ],
)
def test_a_missing_interpreter_is_named_in_the_log(supervise, line, told):
    step = supervise(f"{line}\ntrue\n")
    step.until()
    record = step.run.read_exit()
    assert (record.code, record.drained) == (127, True)
    assert told in step.log(Stream.STDERR).decode()


def test_the_step_runs_in_its_directory_and_learns_of_no_other(supervise, tmp_path):
    (tmp_path / "a b").mkdir()
    (tmp_path / "link").symlink_to("a b")
    step = supervise("pwd -P; env | grep -c ^OLDPWD=", cwd=str(tmp_path / "link"))
    step.until()
    assert step.log().decode().splitlines() == [str((tmp_path / "a b").resolve()), "0"]


def test_a_directory_that_cannot_be_entered_is_no_end_of_the_step_but_no_start(supervise, tmp_path):
    (tmp_path / "file").touch()
    for cwd in (tmp_path / "gone", tmp_path / "file"):
        step = supervise("echo never", cwd=str(cwd))
        step.until()
        assert (step.run.read_exit().code, step.log()) == (None, b"")
        assert f"the working directory {cwd} cannot be entered" in step.log(Stream.STDERR).decode()


def test_term_to_all_of_it_ends_the_step_and_leaves_a_record(supervise, tmp_path):
    gate = tmp_path / f"gate-{uuid4().hex}"
    os.mkfifo(gate)
    step = supervise(f"echo ready >{gate}; exec sleep 60")
    assert gate.read_text() == "ready\n"
    children = Path(f"/proc/{step.process.pid}/task/{step.process.pid}/children").read_text()
    for process in [step.process.pid, *(int(child) for child in children.split())]:
        os.kill(process, signal.SIGTERM)
    assert step.until() == b"sx"
    record = step.run.read_exit()
    assert (record.code, record.drained, record.lost_output) == (143, True, False)


def test_a_step_that_kills_its_process_group_leaves_the_supervisor(supervise):
    step = supervise("kill -9 0")
    step.until()
    assert step.run.read_exit().code == 137


def test_the_record_comes_before_the_end_of_a_held_log(supervise, tmp_path):
    gate = tmp_path / f"gate-{uuid4().hex}"
    os.mkfifo(gate)
    step = supervise(f"(read x <{gate}; echo late) & exit 3")
    assert step.until(b"x") == b"sx"
    record = step.run.read_exit()
    assert (record.code, record.drained) == (3, False)
    gate.write_text("go\n")
    assert step.until() == b""
    assert step.log() == b"late\n"
    assert step.run.read_exit().drained


def test_only_one_supervisor_starts(supervise):
    step = supervise("echo never", prepare=lambda run, directory: run.declare_never_started())
    assert step.process.wait(10) != 0
    assert not step.run.has_started()
    assert step.log() == b""
    assert step.run.read_exit() is None


def test_a_copier_that_cannot_write_reads_on(supervise):
    def full(run, directory):
        (directory / "stdout").unlink()
        (directory / "stdout").symlink_to("/dev/full")

    step = supervise("head -c 3000000 /dev/zero; echo done >&2", prepare=full)
    step.until()
    record = step.run.read_exit()
    assert (record.code, record.copier_failed, record.stdout_copier, record.stderr_copier) == (0, True, 1, 0)
    assert step.log(Stream.STDERR) == b"done\n"


def test_binary_output_of_both_streams_is_whole(supervise, tmp_path):
    data = os.urandom(4 << 20)
    (tmp_path / "data").write_bytes(data)
    step = supervise(f"tee /dev/stderr <{tmp_path}/data")
    step.until()
    assert step.log() == data
    assert step.log(Stream.STDERR) == data


def test_its_own_clock_ends_before_the_supervisor_does(supervise, tmp_path, monkeypatch):
    """An orphan of it would be told as a process that the step has left running."""
    (tmp_path / "bin").mkdir()
    clock = tmp_path / "bin" / "sleep"  # deaf, as each process is for a moment after its fork
    clock.write_text(f"#!/bin/sh\ntrap '' TERM\nexec {shutil.which('sleep')} \"$@\"\n")
    clock.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"), prepend=":")
    seconds = str(10**6 + uuid4().int % 10**6)
    step = supervise("/bin/sleep 0.3", seconds=[seconds])
    assert step.process.wait(20) == 0
    assert subprocess.run(["pgrep", "-f", seconds], capture_output=True, check=False).stdout == b""
