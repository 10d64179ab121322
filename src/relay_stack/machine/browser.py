"""Finds or installs a browser, for the tests that use Flower's page."""

from pathlib import Path

from relay_stack.errors import StackProblem
from relay_stack.machine.consent import Consent
from relay_stack.machine.packages import install, program

NAMES = ("chromium-headless-shell", "chromium", "google-chrome", "chromium-browser")
PACKAGE = "chromium-headless-shell"


def find_browser() -> str | None:
    """Path of a Chromium; None where there is none."""
    return next((path for path in map(program, NAMES) if path), None)


def ensure_browser(data_dir: Path, consent: Consent) -> str:
    """Path of a Chromium; one is installed where there is none (about 100 MB).

    Raises:
        StackProblem: there is none, and installing it is not allowed or failed; with the command to run.
    """
    if find_browser() is None:
        install([PACKAGE], needed_by="the tests of Flower's page", consent=consent, log_folder=data_dir / "logs")
    found = find_browser()
    if found is None:
        raise StackProblem(
            f"The package {PACKAGE} is installed, but has none of {', '.join(NAMES)}. Install a Chromium."
        )
    return found
