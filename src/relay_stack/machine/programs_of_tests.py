"""Finds or installs small programs that only tests need."""

from pathlib import Path

from relay_stack.errors import StackProblem
from relay_stack.machine.consent import Consent
from relay_stack.machine.packages import install, program

PACKAGES = {
    "busybox": "busybox-static",  # for an image that is unlike Relay's own; 2 MB
    "bindfs": "bindfs",  # for a disk that hangs; with libfuse 1 MB
}
"""Program → the package that has it."""


def ensure_test_programs(data_dir: Path, consent: Consent) -> None:
    """Install those that this machine does not have.

    Raises:
        StackProblem: one is missing, and installing it is not allowed or failed; the message says what to do.
    """
    missing = [package for name, package in PACKAGES.items() if program(name) is None]
    if missing:
        install(missing, needed_by="tests", consent=consent, log_folder=data_dir / "logs")
    for name, package in PACKAGES.items():
        if program(name) is None:
            raise StackProblem(f"The package {package} is installed, but has no program {name}. Install a {name}.")
