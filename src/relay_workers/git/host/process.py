"""Running git on the host: only in bare repositories that Relay alone writes, and only with Relay's configuration.

GitPython is not used for this: it passes the whole environment of the worker to git, does not limit how much output it
keeps, and kills only the first process of a fetch. `store` uses it to read objects and write refs.
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

# A shell sets the limits before it becomes git; a preexec_fn would not be safe in a worker with threads.
_LIMITED = 'ulimit -c 0 && ulimit -v "$1" && ulimit -f "$2" && shift 2 && exec "$@"'


class GitCancelled(StepFailed):
    """The work was cancelled by its event; no process is left."""

    def __init__(self, task: str) -> None:
        super().__init__(Reason.USER, f"{task} was cancelled")


class DeadlinePassed(RelayError):  # noqa: N818 - an event
    """The work took too long; no process is left."""


@dataclass(frozen=True, slots=True)
class Deadline:
    """The time until which some work may run, and an event that ends it earlier."""

    expires_at: float
    """Seconds on the clock of `time.monotonic`."""
    cancelled: Event
    """Set by another thread to cancel the work."""

    @classmethod
    def within(cls, seconds: float, cancelled: Event | None = None) -> "Deadline":
        """Make a deadline that many seconds from now."""
        return cls(time.monotonic() + seconds, cancelled or Event())

    def check(self, task: str) -> None:
        """Return if the work may go on.

        Args:
            task: name of the work in the error's message.

        Raises:
            GitCancelled: the event is set.
            DeadlinePassed: the time is over.
        """
        if self.cancelled.is_set():
            raise GitCancelled(task)
        if time.monotonic() >= self.expires_at:
            raise DeadlinePassed(f"{task} took too long")

    def pause(self, task: str) -> None:
        """Wait 0.1 s between two polls, less if the event is set; raises as `check` does."""
        self.check(task)
        self.cancelled.wait(_POLL_SECONDS)
        self.check(task)


@dataclass(frozen=True, slots=True)
class GitJob:
    """One git command line and its limits."""

    argv: Sequence[str]
    """Arguments after ``git``."""
    git_dir: Path | None = None
    """The bare repository; None for a command that needs none."""
    config: Mapping[str, str] = field(default_factory=dict)
    """Configuration in addition to Relay's fixed one; never a secret."""
    env: Mapping[str, str] = field(default_factory=dict)
    """Environment variables in addition to Relay's fixed ones."""
    stdin: int | None = None
    """Descriptor of the standard input; None for an empty one."""
    memory_bytes: int = 4 << 30
    """Address space of each process."""
    file_bytes: int = 1 << 40
    """Size of each file that git writes."""
    output_limit: int = 64 << 20
    """Bytes of stdout that are kept; at one more the process is ended."""
    on_errors: Callable[[bytes], None] | None = None
    """Called with every chunk of stderr."""
    watch: Callable[[], object] | None = None
    """Called several times a second while git runs; an exception from it ends git and is passed on."""


@dataclass(frozen=True, slots=True)
class GitResult:
    """The end of a git process; a non-zero exit code is no exception."""

    exit_code: int
    output: bytes
    truncated: bool
    """Whether the output was longer than its limit and is cut there."""
    errors: bytes
    """The last bytes of stderr, at most 16 KiB."""

    @property
    def message(self) -> str:
        """The last two error lines of stderr, or its last two lines, joined by semicolons."""
        lines = self.errors.decode("utf-8", "replace").strip().splitlines()
        complaints = [line for line in lines if line.startswith(("error:", "fatal:"))] or lines
        return "; ".join(complaints[-2:]) or f"git ended with code {self.exit_code}"


def run_git(job: GitJob, deadline: Deadline) -> GitResult:
    """Run git in a process group of its own, none of which is left when this function returns or raises.

    Raises:
        GitCancelled: the event of the deadline was set.
        DeadlinePassed: the time is over.
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
    """Kill a process group and wait until no live process of it is left.

    Raises:
        RelayError: after 5 s a process is still alive (it hangs in the kernel).
    """
    deadline = time.monotonic() + _GONE_SECONDS
    while True:
        with suppress(ProcessLookupError, PermissionError):  # PermissionError: only zombies are left
            os.killpg(group, signal.SIGKILL)
        if not living_members(group):
            return
        if time.monotonic() > deadline:
            raise RelayError(f"processes of group {group} do not end")
        time.sleep(0.01)  # the kernel offers no event for the end of a process that is no child of this one


def living_members(group: int) -> list[int]:
    """Return the ids of the processes of a group that are no zombies."""
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
    """Read both pipes to their ends or to the output limit; returns the output, whether it is cut, and stderr's end."""
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
    """Wait for the end of a process that has closed its pipes."""
    while True:
        try:
            process.wait(_POLL_SECONDS)
        except subprocess.TimeoutExpired:
            deadline.check("git")
        else:
            return
