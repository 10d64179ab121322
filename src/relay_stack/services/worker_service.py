"""The service type of the worker, which is ready when it answers through the queue."""

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
"""Longest wait for a worker's answer to one request; a worker that is still starting does not answer."""


@dataclass(frozen=True)
class WorkerService:
    """The Celery worker of this stack."""

    program: Program
    redis_url: str

    def prepare(self) -> Program:
        """Return the program of the worker; nothing needs to be set up."""
        return self.program

    def wait_ready(self, process: subprocess.Popen[bytes]) -> None:
        """Wait until the worker whose main process is `process` answers.

        Raises:
            StackProblem: the process ended, or did not answer within START_SECONDS; the message has its log's end.
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
    """Return whether the worker with this pid answers.

    The request goes to all workers. Workers of other machines may use the same Redis, so the answer's pid must match.
    """
    try:
        stats = app.control.inspect(timeout=ASK_SECONDS, limit=1).stats() or {}
    except OperationalError:
        return False
    return any(worker.get("pid") == pid for worker in stats.values())
