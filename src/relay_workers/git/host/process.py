"""Git on the host: only in bare repositories that Relay alone writes, with no configuration but ours.

Not through GitPython: it hands the whole environment of the worker to git, cannot bound what it keeps of the output and
kills only the first process of a fetch. It serves where objects and refs are read (`mirror`, `store`).
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

# The limits hold from the first instruction of git on; a preexec_fn would not be safe in a worker with threads.
_LIMITED = 'ulimit -c 0 && ulimit -v "$1" && ulimit -f "$2" && shift 2 && exec "$@"'


class GitCancelled(StepFailed):
    """Somebody asked for the end; nothing is left running."""

    def __init__(self, what: str) -> None:
        super().__init__(Reason.USER, f"{what} was cancelled")


class DeadlinePassed(RelayError):  # noqa: N818 - reads as what it says
    """The deadline passed; nothing is left running."""


@dataclass(frozen=True, slots=True)
class Deadline:
    """Until when, and whether still, something may run."""

    expires_at: float
    """On `time.monotonic`'s clock."""
    cancelled: Event

    @classmethod
    def within(cls, seconds: float, cancelled: Event | None = None) -> "Deadline":
        """A deadline that ends in so many seconds."""
        return cls(time.monotonic() + seconds, cancelled or Event())

    def check(self, what: str) -> None:
        """Pass if there is time left.

        Raises:
            GitCancelled: the event is set.
            DeadlinePassed: the deadline has passed.
        """
        if self.cancelled.is_set():
            raise GitCancelled(what)
        if time.monotonic() >= self.expires_at:
            raise DeadlinePassed(f"{what} took too long")

    def pause(self, what: str) -> None:
        """Let a moment pass, for what offers no event to wait on; raises as `check` does."""
        self.check(what)
        self.cancelled.wait(_POLL_SECONDS)
        self.check(what)


@dataclass(frozen=True, slots=True)
class GitJob:
    """One git command line and what it may use."""

    argv: Sequence[str]
    """Behind ``git``."""
    git_dir: Path | None = None
    config: Mapping[str, str] = field(default_factory=dict)
    """In addition to the fixed ones; never a secret."""
    env: Mapping[str, str] = field(default_factory=dict)
    stdin: int | None = None
    """A descriptor that git reads; nothing otherwise."""
    memory_bytes: int = 4 << 30
    file_bytes: int = 1 << 40
    output_limit: int = 64 << 20
    """Bytes of stdout; at one more the process is ended."""
    on_errors: Callable[[bytes], None] | None = None
    """Gets every chunk of stderr."""
    watch: Callable[[], object] | None = None
    """Called now and then while git runs; what it raises ends git and is raised."""


@dataclass(frozen=True, slots=True)
class GitResult:
    """How it ended; a non-zero exit is a value."""

    exit_code: int
    output: bytes
    truncated: bool
    """The output went over its limit and is cut there."""
    errors: bytes
    """End of stderr."""

    @property
    def message(self) -> str:
        """The last complaints that git wrote to stderr."""
        lines = self.errors.decode("utf-8", "replace").strip().splitlines()
        complaints = [line for line in lines if line.startswith(("error:", "fatal:"))] or lines
        return "; ".join(complaints[-2:]) or f"git ended with code {self.exit_code}"


def run_git(job: GitJob, deadline: Deadline) -> GitResult:
    """Run git in a process group of its own, which is gone when this returns or raises.

    Raises:
        GitCancelled: asked to end.
        DeadlinePassed: the deadline passed.
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
    """Kill a process group and see to it that no live process of it is left.

    Raises:
        RelayError: one survives (it hangs in the kernel).
    """
    deadline = time.monotonic() + _GONE_SECONDS
    while True:
        with suppress(ProcessLookupError, PermissionError):  # the latter: only zombies are left
            os.killpg(group, signal.SIGKILL)
        if not living_members(group):
            return
        if time.monotonic() > deadline:
            raise RelayError(f"processes of group {group} do not end")
        time.sleep(0.01)  # the kernel offers no event for the end of a process that is not our child


def living_members(group: int) -> list[int]:
    """Processes of a group that are not zombies."""
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
    """Read both pipes to their ends, or to the output limit."""
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
    """Wait for a process that has closed its pipes."""
    while True:
        try:
            process.wait(_POLL_SECONDS)
        except subprocess.TimeoutExpired:
            deadline.check("git")
        else:
            return
