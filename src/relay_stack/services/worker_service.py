"""The worker as a service: it is ready when it answers through the queue."""

import subprocess
import time
from dataclasses import dataclass

from celery import Celery
from kombu.exceptions import OperationalError

from relay_core.queue.celery_app import make_app
from relay_core.settings import Settings
from relay_stack.errors import StackProblem
from relay_stack.services.process import Program, last_lines

START_SECONDS = 60
ASK_SECONDS = 0.5
"""Longest wait for the answers to one question; a worker that starts does not answer yet."""


@dataclass(frozen=True)
class WorkerService:
    """The Celery worker of this stack."""

    program: Program
    redis_url: str

    def prepare(self) -> Program:
        """Return how to run the worker; there is nothing to set up."""
        return self.program

    def wait_ready(self, process: subprocess.Popen[bytes]) -> None:
        """Return when the worker whose main process is `process` answers.

        Raises:
            StackProblem: the process ended, or did not answer in START_SECONDS; with the end of its log.
        """
        app = make_app(Settings(redis_url=self.redis_url))
        deadline = time.monotonic() + START_SECONDS
        try:
            while not _answers(app, process.pid):
                if process.poll() is not None or time.monotonic() > deadline:
                    log = self.program.log_file
                    raise StackProblem(f"The worker did not start. The end of {log}:\n{last_lines(log)}")
        finally:
            app.close()


def _answers(app: Celery, pid: int) -> bool:
    """Ask all workers on the queue. Workers of other machines may use the same Redis, so the pid decides."""
    try:
        stats = app.control.inspect(timeout=ASK_SECONDS, limit=1).stats() or {}
    except OperationalError:
        return False
    return any(worker.get("pid") == pid for worker in stats.values())
