"""Run git on the host, only in bare repositories to which only Relay writes, and only with Relay's configuration.

This module does not use GitPython, because GitPython passes the whole environment of the worker to git, does not limit
how much output it keeps, and kills only the first process of a fetch. `store` uses GitPython to read objects and write
refs.
"""

import os
import selectors
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event
from typing import IO

from relay_core.domain.errors import RelayError, StepFailed
from relay_core.domain.vocabulary import Reason

_POLL_SECONDS = 0.1
_GONE_SECONDS = 5
_ERRORS_LIMIT = 16 << 10
_READ = 1 << 16

# A shell sets the limits and then replaces itself with git; a preexec_fn would not be safe in a worker with threads.
_LIMITED = 'ulimit -c 0 && ulimit -v "$1" && ulimit -f "$2" && shift 2 && exec "$@"'


class GitCancelled(StepFailed):
    """The event of the deadline was set, so the work was stopped; no process of git is left."""

    def __init__(self, task: str) -> None:
        super().__init__(Reason.USER, f"{task} was cancelled")


class DeadlinePassed(RelayError):  # noqa: N818 - an event
    """The time limit of the deadline has passed, so the work was stopped; no process of git is left."""


@dataclass(frozen=True, slots=True)
class Deadline:
    """The time limit of some work, and an event that cancels the work earlier."""

    expires_at: float
    """Time at which the limit passes, in seconds of `time.monotonic`."""
    cancelled: Event
    """Another thread sets this event to cancel the work."""

    @classmethod
    def within(cls, seconds: float, cancelled: Event | None = None) -> "Deadline":
        """Return a deadline that passes in `seconds` from now; None for `cancelled` means that nothing cancels it."""
        return cls(time.monotonic() + seconds, cancelled or Event())

    def check(self, task: str) -> None:
        """Raise an error if the work must stop; otherwise do nothing.

        Args:
            task: name of the work for the error message.

        Raises:
            GitCancelled: the event is set.
            DeadlinePassed: the time limit has passed.
        """
        if self.cancelled.is_set():
            raise GitCancelled(task)
        if time.monotonic() >= self.expires_at:
            raise DeadlinePassed(f"{task} took too long")

    def pause(self, task: str) -> None:
        """Wait for 0.1 s, or until the event is set; call `check` before and after, which may raise an error."""
        self.check(task)
        self.cancelled.wait(_POLL_SECONDS)
        self.check(task)


@dataclass(frozen=True, slots=True)
class GitJob:
    """One git command line and its limits."""

    argv: Sequence[str]
    """Arguments after ``git``."""
    git_dir: Path | None = None
    """The bare repository; None for a command that needs no repository."""
    config: Mapping[str, str] = field(default_factory=dict)
    """Git configuration in addition to Relay's fixed configuration; must not contain a secret."""
    env: Mapping[str, str] = field(default_factory=dict)
    """Environment variables in addition to Relay's fixed variables."""
    stdin: int | None = None
    """Descriptor of the standard input; None for an empty standard input."""
    memory_bytes: int = 4 << 30
    """Maximum address space of each process."""
    file_bytes: int = 1 << 40
    """Maximum size of each file that git writes."""
    output_limit: int = 64 << 20
    """Maximum number of bytes of stdout; if git prints more, it is killed and the output is cut."""
    on_errors: Callable[[bytes], None] | None = None
    """Called with every chunk of stderr; None: not called."""
    watch: Callable[[], object] | None = None
    """Called several times a second while git runs; if it raises, git is killed and the exception is passed on."""


@dataclass(frozen=True, slots=True)
class GitResult:
    """The result of a git command; a failed command has a non-zero exit code and raises no exception."""

    exit_code: int
    output: bytes
    truncated: bool
    """Whether the output was longer than `GitJob.output_limit` and was cut."""
    errors: bytes
    """The end of stderr, at most 16 KiB."""

    @property
    def message(self) -> str:
        """A message about a failure: the last two error lines of stderr, or its last two lines, as one line."""
        lines = self.errors.decode("utf-8", "replace").strip().splitlines()
        complaints = [line for line in lines if line.startswith(("error:", "fatal:"))] or lines
        return "; ".join(complaints[-2:]) or f"git ended with code {self.exit_code}"


def run_git(job: GitJob, deadline: Deadline) -> GitResult:
    """Run git in its own process group. When this function returns or raises, no process of the group is left.

    Raises:
        GitCancelled: the event of the deadline was set.
        DeadlinePassed: the time limit of the deadline has passed.
        RelayError: a process of git could not be killed.
    """
    limits = (str(job.memory_bytes // 1024), str(job.file_bytes // 512))
    argv = ("/bin/sh", "-c", _LIMITED, "sh", *limits, "git", *job.argv)
    deadline.check("git")
    with subprocess.Popen(
        argv,
        stdin=subprocess.DEVNULL if job.stdin is None else job.stdin,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=_environment(job),
        cwd="/",
        start_new_session=True,
    ) as process:
        try:
            output, truncated, errors = _collect(process, job, deadline)
            if truncated:
                end_group(process.pid)
            _wait(process, deadline)
        finally:
            end_group(process.pid)
    return GitResult(process.returncode, output, truncated, errors)


def end_group(group: int) -> None:
    """Kill the processes of a group and wait until none is alive.

    Args:
        group: id of the process group.

    Raises:
        RelayError: a process is still alive after 5 s (it hangs in the kernel).
    """
    deadline = time.monotonic() + _GONE_SECONDS
    while True:
        with suppress(ProcessLookupError, PermissionError):  # PermissionError: only zombies are left
            os.killpg(group, signal.SIGKILL)
        if not living_members(group):
            return
        if time.monotonic() > deadline:
            raise RelayError(f"processes of group {group} do not end")
        time.sleep(0.01)  # the kernel offers no event for the end of a process that is not a child of this process


def living_members(group: int) -> list[int]:
    """Return the ids of the processes in a process group, without zombies."""
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return []
    except PermissionError:
        pass
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            with suppress(OSError):
                state, _, pgrp = (entry / "stat").read_text("latin-1").rpartition(")")[2].split()[:3]
                if int(pgrp) == group and state not in "ZX":
                    found.append(int(entry.name))
    return found


def _environment(job: GitJob) -> dict[str, str]:
    config = {
        "gc.auto": "0",
        "maintenance.auto": "false",
        "core.hooksPath": "/dev/null",
        "core.fsmonitor": "false",
        "core.attributesFile": "/dev/null",
        "core.packedGitLimit": "512m",
        "core.packedGitWindowSize": "32m",
        "core.bigFileThreshold": "16m",
        "protocol.allow": "never",
        **job.config,
    }
    env = {
        "PATH": os.environ.get("PATH", os.defpath),
        "HOME": "/nonexistent",
        "LC_ALL": "C",
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_CONFIG_GLOBAL": "/dev/null",
        "GIT_ATTR_NOSYSTEM": "1",
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_ASKPASS": "/bin/false",
        "SSH_ASKPASS": "/bin/false",
        "GIT_NO_REPLACE_OBJECTS": "1",
        "GIT_CONFIG_COUNT": str(len(config)),
        **job.env,
    }
    if job.git_dir is not None:
        env["GIT_DIR"] = str(job.git_dir)
    for number, (key, value) in enumerate(config.items()):
        env[f"GIT_CONFIG_KEY_{number}"] = key
        env[f"GIT_CONFIG_VALUE_{number}"] = value
    return env


def _collect(process: subprocess.Popen[bytes], job: GitJob, deadline: Deadline) -> tuple[bytes, bool, bytes]:
    """Read git's output until git closes both pipes or the output limit is reached.

    Returns:
        The output, whether it was cut at the limit, and the end of stderr.
    """
    output, errors = bytearray(), bytearray()
    with selectors.DefaultSelector() as selector:
        for pipe in (process.stdout, process.stderr):
            if pipe is not None:
                selector.register(pipe, selectors.EVENT_READ)
        while selector.get_map():
            deadline.check("git")
            if job.watch is not None:
                job.watch()
            for key, _ in selector.select(_POLL_SECONDS):
                pipe_: IO[bytes] = key.fileobj  # type: ignore[assignment]
                chunk = os.read(key.fd, _READ)
                if not chunk:
                    selector.unregister(pipe_)
                elif pipe_ is process.stdout:
                    output += chunk
                    if len(output) > job.output_limit:
                        return bytes(output[: job.output_limit]), True, bytes(errors)
                else:
                    errors = (errors + chunk)[-_ERRORS_LIMIT:]
                    if job.on_errors:
                        job.on_errors(chunk)
    return bytes(output), False, bytes(errors)


def _wait(process: subprocess.Popen[bytes], deadline: Deadline) -> None:
    """Wait until a process that has closed its pipes exits; raise an error if the deadline passes before."""
    while True:
        try:
            process.wait(_POLL_SECONDS)
        except subprocess.TimeoutExpired:
            deadline.check("git")
        else:
            return
