"""The service type of API and Flower: programs that are ready when an HTTP address answers."""

import subprocess
import time
from dataclasses import dataclass

import httpx

from relay_stack.errors import StackProblem
from relay_stack.services.process import Program, last_lines

START_SECONDS = 60


@dataclass(frozen=True)
class AppService:
    """A program that is ready when a URL answers."""

    program: Program
    ready_url: str | None = None
    """URL that answers with a 2xx status when the program is ready. None if the program counts as ready at once."""

    def prepare(self) -> Program:
        """Return the program; nothing needs to be set up."""
        return self.program

    def wait_ready(self, process: subprocess.Popen[bytes]) -> None:
        """Wait until `ready_url` answers with success.

        Raises:
            StackProblem: the process ended, or was not ready within START_SECONDS; the message has the end of its log.
        """
        if self.ready_url is None:
            return
        deadline = time.monotonic() + START_SECONDS
        secure = self.ready_url.startswith("https:")  # without it no certificates are read, which takes 20 ms
        with httpx.Client(timeout=5, trust_env=False, verify=secure) as client:
            while not _answers(client, self.ready_url):  # poll: no event reports this
                if process.poll() is not None or time.monotonic() > deadline:
                    log = self.program.log_file
                    raise StackProblem(f"{self.program.name} did not start. The end of {log}:\n{last_lines(log)}")
                time.sleep(0.05)


def _answers(client: httpx.Client, url: str) -> bool:
    try:
        return client.get(url).is_success
    except httpx.HTTPError:
        return False
