"""Find or install a static busybox: tests make an image of it that is unlike Relay's own."""

from pathlib import Path

from relay_stack.errors import StackProblem
from relay_stack.machine.consent import Consent
from relay_stack.machine.packages import install, program

PACKAGE = "busybox-static"


def ensure_busybox(data_dir: Path, consent: Consent) -> str:
    """Return the path of busybox; install a static one (2 MB) if there is none.

    Raises:
        StackProblem: none is installed, and installing one is not allowed or failed; the message says what to do.
    """
    if program("busybox") is None:
        install([PACKAGE], needed_by="the tests of small images", consent=consent, log_folder=data_dir / "logs")
    found = program("busybox")
    if found is None:
        raise StackProblem(f"The package {PACKAGE} is installed, but has no program busybox. Install a busybox.")
    return found
