"""The run directory: the files through which a worker and the supervisor of a step exchange data.

The supervisor is the script containers/in_container/supervise.sh, which runs the step inside the container. Each start
of an execution has its own directory ``<workspace>/runs/<execution>/<fence>/``. It contains:

- ``step`` and ``stdin``: the script of the step and its standard input;
- ``stdout.fifo`` and ``stderr.fifo``: FIFOs to which the step writes;
- ``stdout`` and ``stderr``: the logs, to which the supervisor copies the output;
- ``alive``: a FIFO that shows the state of the supervisor;
- ``exit``: the supervisor's record of the end of the step;
- ``started``: a file if the supervisor has started, or a directory if the worker has prevented every later start.

The step can change all of these files, so the worker reads them only through `SafeDir`.
"""

import os
import re
import shutil
import stat
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from relay_core.domain.vocabulary import Stream
from relay_workers.host_files.safe_dir import FileId, OpenFile, SafeDir, TamperedFile

_RUNS = "runs"
_FIFOS = ("stdout.fifo", "stderr.fifo", "alive")
_RECORD_BYTES = 512
"""Size of the file ``exit`` in bytes. The worker fills it in advance, so the supervisor can write on a full disk."""
_RECORD_LIMIT = 4096
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_NUMBER = re.compile(rb"[0-9]{1,18}")


class Owner(NamedTuple):
    """The user and group with which a step runs; they own its run directory."""

    uid: int
    gid: int


@dataclass(frozen=True)
class ExitRecord:
    """The supervisor's record of the end of its step. It is not reliable: the step itself can write the file."""

    code: int | None
    """Exit code of the step; None if the step could not be started (a fork failed)."""
    oom_before: int | None
    """How many processes of the container the kernel had killed for lack of memory before the step; None: unknown."""
    oom_after: int | None
    """The same number after the step; None: unknown."""
    copier_failed: bool
    """Whether a copier (a process that copies output to a log) could not write, so that output is lost (full disk)."""
    drained: bool
    """Whether both copiers have ended, so that nothing more is written to the logs."""
    late: bool = False
    """Whether the supervisor itself killed the step, long after the step's time limit, because no worker did."""
    stdout_copier: int | None = None
    """Exit code of the copier of stdout; not 0 if output was lost; None until `drained`."""
    stderr_copier: int | None = None
    """Exit code of the copier of stderr; not 0 if output was lost; None until `drained`."""

    @property
    def oom_killed(self) -> bool:
        """Whether the kernel killed a process of the container for lack of memory while the step ran."""
        return (self.oom_after or 0) > (self.oom_before or 0)

    @property
    def lost_output(self) -> bool:
        """Whether a copier failed or was killed, so that output is missing from a log."""
        return self.copier_failed or bool(self.stdout_copier) or bool(self.stderr_copier)


def parse_exit(data: bytes) -> ExitRecord | None:
    """Parse the content of the file ``exit``; return None as long as the supervisor has not completed the record.

    Raises:
        TamperedFile: a supervisor cannot have written this content.
    """
    head, end, tail = data.partition(b"\nend\n")
    if not end:
        return None
    fields = dict(line.split(b"=", 1) for line in (head + b"\n" + tail).split(b"\n") if b"=" in line)
    numbers = {name: _number(name, fields.get(name.encode(), b"")) for name in _NUMBERS}
    code = numbers["code"]
    if code is not None and code > 255:
        raise TamperedFile(f"the exit record's code is {code}")
    return ExitRecord(
        code=code,
        oom_before=numbers["oom_before"],
        oom_after=numbers["oom_after"],
        copier_failed=fields.get(b"copier") != b"ok",
        late=fields.get(b"late") == b"1",
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
    """Names the run directory of one start of an execution and gives access to its files; keeps no file open."""

    workspace_dir: Path
    execution_id: str
    fence: int
    """Fencing number of the ownership under which the step was started.

    It grows with each new owner, so an execution that is started again gets a new directory.
    """

    @property
    def container_path(self) -> str:
        """Path of the directory in the workspace's container."""
        return f"/workspace/{_RUNS}/{self.execution_id}/{self.fence}"

    def open_log(self, stream: Stream, expect: FileId | None = None) -> OpenFile:
        """Open the log of ``stdout`` or ``stderr`` for reading; the caller closes the descriptor.

        Args:
            stream: the log to open.
            expect: identity that the file must have; None accepts any regular file with one link.

        Raises:
            FileNotFoundError: the log was removed.
            TamperedFile: the file is not the one that Relay created.
        """
        with self._open() as directory:
            return directory.open_file(stream.value, expect)

    def append(self, stream: Stream, data: bytes) -> None:
        """Append a message of Relay to a log, as if the step had printed it.

        Raises:
            FileNotFoundError: the log was removed.
            TamperedFile: the file is not the one that Relay created.
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
        """Open the FIFO ``alive``, which shows the state of the supervisor; the caller closes the descriptor.

        A read of the descriptor returns ``s`` when the supervisor has started, and ``x`` when the step has ended and
        the exit record is written. It raises BlockingIOError if the supervisor is alive and has written nothing new. It
        returns ``b""`` if the supervisor is dead or has not started yet.

        Raises:
            FileNotFoundError: the FIFO was removed.
            TamperedFile: the file is not a FIFO.
        """
        with self._open() as directory:
            return directory.open_fifo("alive")

    def has_started(self) -> bool:
        """Return whether the supervisor has started; False also if `declare_never_started` has prevented the start."""
        with self._open() as directory:
            return self._started(directory) is not None and not self._ruled_out(directory)

    def declare_never_started(self) -> bool:
        """Prevent that the supervisor starts later. Return False if it has started already, otherwise True.

        Raises:
            FileNotFoundError: there is no run directory: it was never prepared, or a step removed it. The execution's
                row in Postgres shows which of both happened.
        """
        with self._open() as directory:
            return directory.make_directory("started") or self._ruled_out(directory)

    def read_exit(self) -> ExitRecord | None:
        """Read the exit record; return None as long as the supervisor has not completed it.

        Raises:
            TamperedFile: the file was removed, or a supervisor cannot have written its content.
        """
        try:
            with self._open() as directory:
                return parse_exit(directory.read_bytes("exit", _RECORD_LIMIT))
        except FileNotFoundError as error:
            raise TamperedFile(f"the exit record of {self.execution_id} was removed") from error

    def remove(self) -> None:
        """Remove the run directory with its content; do nothing if it does not exist.

        Raises:
            TamperedFile: a process of the container replaced a parent directory.
            OSError: an entry cannot be removed, or a process creates one at the same time.
        """
        name = str(self.fence)
        with suppress(FileNotFoundError), SafeDir.open(self.workspace_dir, _RUNS) as runs:
            with runs.sub(self.execution_id) as parent:
                if stat.S_ISDIR(os.stat(name, dir_fd=parent.fileno(), follow_symlinks=False).st_mode):
                    shutil.rmtree(name, dir_fd=parent.fileno())
                else:
                    parent.unlink(name)
            with suppress(OSError):  # the directory still contains run directories with other fences
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
    """Remove all run directories of an execution; do nothing if there are none.

    Raises:
        TamperedFile: a process of the container replaced the directory ``runs``.
        OSError: an entry cannot be removed, or a process creates one at the same time.
    """
    with suppress(FileNotFoundError), SafeDir.open(workspace_dir, _RUNS) as runs:
        shutil.rmtree(execution_id, dir_fd=runs.fileno())


def prepare_run_dir(run: RunDir, owner: Owner, step: bytes, stdin: bytes = b"") -> None:
    """Create a run directory with all files that the supervisor needs; replace a directory that a crash left behind.

    The caller must be sure that no supervisor was started in the directory. The worker sets the directory's owner as
    the last action, so no process of the workspace can change the directory before it is complete. A worker that is not
    root cannot change owners; it runs as the user of the step anyway.

    Args:
        run: names the directory.
        owner: user and group of the step.
        step: script of the step; a script with a ``#!`` line is executed directly, any other by /bin/sh.
        stdin: standard input of the step.

    Raises:
        TamperedFile: a process of the container replaced a parent directory.
        OSError: the disk is full, or the worker has no permission to write there.
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
                    _set_owner_and_mode(directory.fileno(), owner, 0o700)


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
            _set_owner_and_mode(file.fileno(), owner, mode)
    for name in _FIFOS:
        os.mkfifo(name, 0o600, dir_fd=directory)
        fd = os.open(name, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=directory)
        # A step that opens /dev/stdout opens the FIFO by its path, perhaps after it has changed its user. So every user
        # may write to the FIFO.
        _set_owner_and_mode(fd, owner, 0o600 if name == "alive" else 0o622)
        os.close(fd)


def _set_owner_and_mode(fd: int, owner: Owner, mode: int) -> None:
    os.fchmod(fd, mode)
    if os.geteuid() == 0:
        os.fchown(fd, owner.uid, owner.gid)
