"""Starts steps through relay-pid1."""

import errno
from contextlib import ExitStack
from dataclasses import replace

from relay_core.domain.errors import InvalidInput, StepFailed
from relay_core.domain.vocabulary import Reason
from relay_workers.containers.docker.channels import Running
from relay_workers.containers.pid1.step import SCRIPT_PATH, Step
from relay_workers.containers.port import StepStart

_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
"""The PATH of a step in a container whose image names none, as the engine sets it."""


def start_step(running: Running, start: StepStart) -> None:
    """Start a step (`Containers.start`)."""
    with ExitStack() as closing:
        try:
            files = start.files.open_for_start(closing)
        except OSError as error:
            full = error.errno in {errno.ENOSPC, errno.EDQUOT}
            reason = Reason.DISK_PRESSURE if full else Reason.INTERNAL_ERROR
            raise StepFailed(reason, f"the log files of the step cannot be opened: {error.strerror}") from error
        if start.terminal:
            files = replace(files, stderr=None)
        try:
            running.pid1.start(step_of(running, start), files)
        except InvalidInput as error:
            raise StepFailed(Reason.START_FAILED, str(error)) from error
        except StepFailed as error:
            if error.reason == Reason.START_FAILED and (interpreter := _interpreter(start.script)) is not None:
                raise StepFailed(Reason.START_FAILED, f"{error}; {_about(interpreter)}") from error
            raise


def step_of(running: Running, start: StepStart) -> Step:
    """Return the step as relay-pid1 gets it."""
    if start.terminal and start.stdin:
        raise InvalidInput("a step with a terminal reads what is typed on it, and has no other standard input")
    own_interpreter = _interpreter(start.script) is not None
    return Step(
        key=start.files.key,
        uid=start.uid,
        gid=start.gid,
        cwd=start.cwd,
        argv=(SCRIPT_PATH,) if own_interpreter else ("/bin/sh", SCRIPT_PATH),
        env={"PATH": _PATH, **running.env, **start.env},
        script=start.script,
        stdin=start.stdin or None,
        deadline_seconds=start.deadline_seconds,
        grace_seconds=10.0,
        terminal=start.terminal,
        root_capabilities=start.uid == 0,
        watch=False,
    )


def _interpreter(script: bytes) -> str | None:
    """Return the program that a script's first line names; None if there is none, so that /bin/sh runs it."""
    line = script.partition(b"\n")[0]
    if not line.startswith(b"#!"):
        return None
    words = line[2:].replace(b"\t", b" ").split(b" ")  # a carriage return is a part of the name, as for the kernel
    return next((word for word in words if word), b"").decode("utf-8", "replace")


def _about(interpreter: str) -> str:
    if "\r" in interpreter:
        return "the first line of the script ends with a carriage return (save the script with LF)"
    return f"the first line of the script asks for {interpreter or 'no program'}"
