"""The directory of one attempt of one execution: what the step is given, and what its supervisor leaves behind.

``<workspace>/runs/<execution>/<attempt>/`` holds ``step`` and ``stdin``, the FIFOs ``stdout.fifo``, ``stderr.fifo`` and
``alive``, the logs ``stdout`` and ``stderr``, the ``exit`` record, and ``started``: a file made by the supervisor, or a
directory made by the worker that declared that it never starts (containers/in_container/supervise.sh is the other
side). The step may change all of it, so it is only ever read through `SafeDir`.
"""

import os
import re
import shlex
import shutil
import stat
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from relay_core.domain.vocabulary import Stream
from relay_workers.host_files.safe_dir import FileId, OpenFile, SafeDir, TamperedFile

_RUNS = "runs"
_FIFOS = ("stdout.fifo", "stderr.fifo", "alive")
_RECORD_BYTES = 512
"""Laid out beforehand, so that the record can be written on a full disk."""
_RECORD_LIMIT = 4096
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_NUMBER = re.compile(rb"[0-9]{1,18}")


class Owner(NamedTuple):
    """Whose a run directory is: the user of the step."""

    uid: int
    gid: int


@dataclass(frozen=True)
class ExitRecord:
    """What a supervisor wrote about the end of its step; the step's own testimony, as it could have written it too."""

    code: int | None
    """None: the step could not be started at all (a fork failed)."""
    oom_before: int | None
    """The container's count of processes that the kernel ended for memory; None where it cannot be read."""
    oom_after: int | None
    copier_failed: bool
    """Some output could not be written (a full disk) and is lost."""
    drained: bool
    """Both copiers have ended."""
    late: bool = False
    """Its own supervisor ended it, long after its time was up."""
    stdout_copier: int | None = None
    """Exit code of the copier; not 0 when output was lost. Known once `drained`."""
    stderr_copier: int | None = None

    @property
    def oom_killed(self) -> bool:
        """Whether the kernel ended a process of this container for memory while the step ran."""
        return (self.oom_after or 0) > (self.oom_before or 0)

    @property
    def lost_output(self) -> bool:
        """Whether a copier failed or was killed."""
        return self.copier_failed or bool(self.stdout_copier) or bool(self.stderr_copier)


def argv_script(argv: Sequence[str]) -> bytes:
    """A step that becomes the program ``argv`` (found on its PATH) with exactly these arguments."""
    return b"exec " + os.fsencode(shlex.join(argv)) + b"\n"


def parse_exit(data: bytes) -> ExitRecord | None:
    """The record in ``data``, or None while it is not complete.

    Raises:
        TamperedFile: no supervisor wrote this.
    """
    head, end, tail = data.partition(b"\nend\n")
    if not end:
        return None
    seen = dict(line.split(b"=", 1) for line in (head + b"\n" + tail).split(b"\n") if b"=" in line)
    numbers = {name: _number(name, seen.get(name.encode(), b"")) for name in _NUMBERS}
    code = numbers["code"]
    if code is not None and code > 255:
        raise TamperedFile(f"the exit record's code is {code}")
    return ExitRecord(
        code=code,
        oom_before=numbers["oom_before"],
        oom_after=numbers["oom_after"],
        copier_failed=seen.get(b"copier") != b"ok",
        late=seen.get(b"late") == b"1",
        drained=b"drained" in tail.split(b"\n"),
        stdout_copier=numbers["stdout_copier"],
        stderr_copier=numbers["stderr_copier"],
    )


_NUMBERS = ("code", "oom_before", "oom_after", "stdout_copier", "stderr_copier")


def _number(name: str, value: bytes) -> int | None:
    if not value:
        return None
    if not _NUMBER.fullmatch(value):
        raise TamperedFile(f"the exit record's {name} is not a number")
    return int(value)


@dataclass(frozen=True)
class RunDir:
    """An attempt's directory, by name only: nothing is held open."""

    workspace_dir: Path
    execution_id: str
    fence: int

    @property
    def container_path(self) -> str:
        """Its path in the workspace's container."""
        return f"/workspace/{_RUNS}/{self.execution_id}/{self.fence}"

    def open_log(self, stream: Stream, expect: FileId | None = None) -> OpenFile:
        """The log of ``stdout`` or ``stderr`` for reading; with ``expect``, only that very file.

        Raises:
            FileNotFoundError: it is gone.
            TamperedFile: it is not the file that Relay made.
        """
        with self._open() as directory:
            return directory.open_file(stream.value, expect)

    def append(self, stream: Stream, data: bytes) -> None:
        """Add words of Relay's own to a log, which then counts as any output.

        Raises:
            FileNotFoundError: it is gone.
            TamperedFile: it is not the file that Relay made.
            OSError: the disk is full.
        """
        file = self.open_log(stream)
        try:
            fd = os.open(f"/proc/self/fd/{file.fd}", os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)
            try:
                os.write(fd, data)
            finally:
                os.close(fd)
        finally:
            os.close(file.fd)

    def open_alive(self) -> int:
        """A descriptor whose reads say how the supervisor is.

        Bytes ``s`` (started) and ``x`` (the step has ended, its record is written); BlockingIOError while there is
        nothing new; ``b""`` once the supervisor is dead, and also before it was started.

        Raises:
            FileNotFoundError: it is gone.
            TamperedFile: it is no FIFO.
        """
        with self._open() as directory:
            return directory.open_fifo("alive")

    def has_started(self) -> bool:
        """Whether the supervisor has begun; False also when the start was ruled out."""
        with self._open() as directory:
            return self._started(directory) is not None and not self._ruled_out(directory)

    def declare_never_started(self) -> bool:
        """Rule out that this attempt ever starts; False when it has.

        Raises:
            FileNotFoundError: there is no run directory: never prepared, or removed by a step. The rows know which.
        """
        with self._open() as directory:
            return directory.make_directory("started") or self._ruled_out(directory)

    def read_exit(self) -> ExitRecord | None:
        """The exit record, or None while there is none.

        Raises:
            TamperedFile: the file is gone, or is not what a supervisor wrote.
        """
        try:
            with self._open() as directory:
                return parse_exit(directory.read_bytes("exit", _RECORD_LIMIT))
        except FileNotFoundError as error:
            raise TamperedFile(f"the exit record of {self.execution_id} was removed") from error

    def remove(self) -> None:
        """Remove it with all that is in it; nothing happens when it is gone.

        Raises:
            TamperedFile: the container put something else on the way to it.
            OSError: something in it cannot be removed, or is made at the same time.
        """
        name = str(self.fence)
        with suppress(FileNotFoundError), SafeDir.open(self.workspace_dir, _RUNS) as runs:
            with runs.sub(self.execution_id) as parent:
                if stat.S_ISDIR(os.stat(name, dir_fd=parent.fileno(), follow_symlinks=False).st_mode):
                    shutil.rmtree(name, dir_fd=parent.fileno())
                else:
                    parent.unlink(name)
            with suppress(OSError):  # other attempts are in it
                os.rmdir(self.execution_id, dir_fd=runs.fileno())

    def _open(self) -> SafeDir:
        return SafeDir.open(self.workspace_dir, _RUNS, self.execution_id, str(self.fence))

    def _started(self, directory: SafeDir) -> int | None:
        try:
            return os.stat("started", dir_fd=directory.fileno(), follow_symlinks=False).st_mode
        except FileNotFoundError:
            return None

    def _ruled_out(self, directory: SafeDir) -> bool:
        mode = self._started(directory)
        return mode is not None and stat.S_ISDIR(mode)


def remove_runs(workspace_dir: Path, execution_id: str) -> None:
    """Remove all attempts of an execution; nothing happens when they are gone.

    Raises:
        TamperedFile: the container put something else on the way to them.
        OSError: something cannot be removed, or is made at the same time.
    """
    with suppress(FileNotFoundError), SafeDir.open(workspace_dir, _RUNS) as runs:
        shutil.rmtree(execution_id, dir_fd=runs.fileno())


def prepare_run_dir(run: RunDir, owner: Owner, step: bytes, stdin: bytes = b"") -> None:
    """Make the directory of an attempt with all that its supervisor needs; one left by a crash is replaced.

    The caller knows that the attempt was never started. The directory is given to its owner last, so nothing can
    interfere before it is complete. Under an account that is not root it stays the worker's own, which is the step's.

    Args:
        run: the attempt.
        owner: the step's user.
        step: a script; with a ``#!`` line it is executed as it is, else by /bin/sh.
        stdin: what the step reads.

    Raises:
        TamperedFile: the container put something else where the directory belongs.
        OSError: the disk is full, or the worker may not write there.
    """
    run.remove()
    with SafeDir.open(run.workspace_dir) as workspace:
        workspace.make_directory(_RUNS)
        with workspace.sub(_RUNS) as runs:
            runs.make_directory(run.execution_id)
            with runs.sub(run.execution_id) as parent:
                parent.make_directory(str(run.fence), 0o700)
                with parent.sub(str(run.fence)) as directory:
                    _fill(directory.fileno(), owner, step, stdin)
                    _give(directory.fileno(), owner, 0o700)


def _fill(directory: int, owner: Owner, step: bytes, stdin: bytes) -> None:
    files = {
        "step": (step, 0o700 if step.startswith(b"#!") else 0o600),
        "stdin": (stdin, 0o600),
        "stdout": (b"", 0o600),
        "stderr": (b"", 0o600),
        "exit": (b" " * (_RECORD_BYTES - 1) + b"\n", 0o600),
    }
    for name, (content, mode) in files.items():
        with os.fdopen(os.open(name, _NEW, 0o600, dir_fd=directory), "wb") as file:
            file.write(content)
            _give(file.fileno(), owner, mode)
    for name in _FIFOS:
        os.mkfifo(name, 0o600, dir_fd=directory)
        fd = os.open(name, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=directory)
        # /dev/stdout reopens the FIFO by its inode: also a step that changes its user must be able to.
        _give(fd, owner, 0o600 if name == "alive" else 0o622)
        os.close(fd)


def _give(fd: int, owner: Owner, mode: int) -> None:
    os.fchmod(fd, mode)
    if os.geteuid() == 0:
        os.fchown(fd, owner.uid, owner.gid)
