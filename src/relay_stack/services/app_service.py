"""API and Flower as services: each is ready when an HTTP address answers."""

import subprocess
import time
from dataclasses import dataclass

import httpx

from relay_stack.errors import StackProblem
from relay_stack.services.process import Program, last_lines

START_SECONDS = 60


@dataclass(frozen=True)
class AppService:
    """A program that is ready when an address answers."""

    program: Program
    ready_url: str | None = None
    """URL that answers with a 2xx status when the program is ready; None: it is ready at once."""

    def prepare(self) -> Program:
        """Return how to run the program; there is nothing to set up."""
        return self.program

    def wait_ready(self, process: subprocess.Popen[bytes]) -> None:
        """Return when `ready_url` answers with success.

        Raises:
            StackProblem: the process ended, or was not ready in START_SECONDS; with the end of its log.
        """
        deadline = time.monotonic() + START_SECONDS
        while self.ready_url is not None and not _answers(self.ready_url):  # no event tells when a port answers
            if process.poll() is not None or time.monotonic() > deadline:
                log = self.program.log_file
                raise StackProblem(f"{self.program.name} did not start. The end of {log}:\n{last_lines(log)}")
            time.sleep(0.05)


def _answers(url: str) -> bool:
    try:
        return httpx.get(url, timeout=5, trust_env=False).is_success
    except httpx.HTTPError:
        return False
