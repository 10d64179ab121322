"""The worker as a service: ready when it answers over the queue."""

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


@dataclass(frozen=True)
class WorkerService:
    """A Celery worker of ours."""

    program: Program
    redis_url: str

    def prepare(self) -> Program:
        """There is nothing to set up."""
        return self.program

    def wait_ready(self, process: subprocess.Popen[bytes]) -> None:
        """Returns when a worker whose main process is `process` answers.

        Raises:
            StackProblem: it ended or took longer than a minute; with the end of its log.
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
    """Asks all workers, for at most half a second; other machines may share an outside Redis, so pids are compared."""
    try:
        stats = app.control.inspect(timeout=ASK_SECONDS, limit=1).stats() or {}
    except OperationalError:
        return False
    return any(one.get("pid") == pid for one in stats.values())
