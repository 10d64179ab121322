"""Find or install a browser for the tests that use Flower's page."""

from pathlib import Path

from relay_stack.errors import StackProblem
from relay_stack.machine.consent import Consent
from relay_stack.machine.packages import install, program

NAMES = ("chromium-headless-shell", "chromium", "google-chrome", "chromium-browser")
PACKAGE = "chromium-headless-shell"


def find_browser() -> str | None:
    """Return the path of a Chromium or Chrome; None if none is installed."""
    return next((path for path in map(program, NAMES) if path), None)


def ensure_browser(data_dir: Path, consent: Consent) -> str:
    """Return the path of a Chromium or Chrome; install one (about 100 MB) if none is installed.

    Raises:
        StackProblem: no browser is installed, and installing one is not allowed or failed; the message says what to do.
    """
    if find_browser() is None:
        install([PACKAGE], needed_by="the tests of Flower's page", consent=consent, log_folder=data_dir / "logs")
    found = find_browser()
    if found is None:
        raise StackProblem(
            f"The package {PACKAGE} is installed, but has none of {', '.join(NAMES)}. Install a Chromium."
        )
    return found
