"""API and Flower as services: ready when an HTTP address answers."""

import subprocess
import time
from dataclasses import dataclass

import httpx

from relay_stack.errors import StackProblem
from relay_stack.services.process import Program, last_lines

START_SECONDS = 60


@dataclass(frozen=True)
class AppService:
    """A program of this project."""

    program: Program
    ready_url: str | None = None
    """Answers 200 once it can be used; None: there is nothing to ask."""

    def prepare(self) -> Program:
        """There is nothing to set up."""
        return self.program

    def wait_ready(self, process: subprocess.Popen[bytes]) -> None:
        """Returns when `ready_url` answers.

        Raises:
            StackProblem: it ended or took longer than a minute; with the end of its log.
        """
        deadline = time.monotonic() + START_SECONDS
        while self.ready_url is not None and not _answers(self.ready_url):  # a port offers no event
            if process.poll() is not None or time.monotonic() > deadline:
                log = self.program.log_file
                raise StackProblem(f"{self.program.name} did not start. The end of {log}:\n{last_lines(log)}")
            time.sleep(0.05)


def _answers(url: str) -> bool:
    try:
        return httpx.get(url, timeout=5, trust_env=False).is_success
    except httpx.HTTPError:
        return False
