"""Install packages of the distribution with apt, and print a note for each installation."""

import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from relay_core.console.output import note
from relay_stack.errors import StackProblem
from relay_stack.machine.consent import Consent
from relay_stack.services.process import last_lines

SYSTEM_FOLDERS = "/usr/local/sbin:/usr/sbin:/sbin"
"""Folders of system programs, which are often missing in the PATH of an ordinary user."""


def program(name: str) -> str | None:
    """Return the path of a program on PATH or in SYSTEM_FOLDERS; None if it is not installed."""
    return shutil.which(name, path=f"{os.environ.get('PATH', os.defpath)}:{SYSTEM_FOLDERS}")


def install(names: Sequence[str], *, needed_by: str, consent: Consent, log_folder: Path) -> None:
    """Install packages with apt-get.

    Args:
        names: names of the packages.
        needed_by: purpose of the packages, for the question to the person and for errors.
        consent: permission to change the machine.
        log_folder: folder for the log file `apt.log`.

    Raises:
        StackProblem: installing is not allowed or failed; the message contains the command to run or the log's end.
    """
    installation = ("apt-get", "install", "-y", "--no-install-recommends", *names)
    command = f"apt-get update && {' '.join(installation)}"
    if program("apt-get") is None:
        raise StackProblem(
            f"Missing for {needed_by}: {', '.join(names)}. Relay installs packages on Debian and Ubuntu only; "
            f"install them with this system's package manager and run again."
        )
    if not consent.given(f"Installing {', '.join(names)} for {needed_by} ({command})"):
        raise StackProblem(f"Missing for {needed_by}: {', '.join(names)}. Run as root: {command}")
    log_file = log_folder / "apt.log"
    log_folder.mkdir(parents=True, exist_ok=True)
    with log_file.open("a") as log:
        for step in (("apt-get", "update"), installation):
            environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
            done = subprocess.run(step, stdout=log, stderr=log, stdin=subprocess.DEVNULL, env=environment, check=False)
            if done.returncode != 0:
                raise StackProblem(f"`{' '.join(step)}` failed:\n{last_lines(log_file)}\n(all of it in {log_file})")
    note(f"Installed {', '.join(names)}")
