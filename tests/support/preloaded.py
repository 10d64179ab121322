"""Programs of Relay as processes that need not import their modules: they are forked from a process that has them.

The import is most of a start: a second of processor time, hundreds of times in the whole suite. Everything after it is
the same as with ``python -m``, which tests of the stack, of the command line and of Compose use.
"""

import atexit
import multiprocessing
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from relay_core.quick_start import load_program

PROGRAMS = ("relay_api", "relay_workers")

_forking = multiprocessing.get_context("forkserver")
_forking.set_forkserver_preload(["tests.support.preloaded_programs"])


class PreloadedProcess:
    """Has those methods of `subprocess.Popen` that tests use.

    Args:
        program: one of `PROGRAMS`.
        environment: all of its environment.
        log: gets its standard output and error, appended.
        cwd: its working directory.
        umask: its mask of file modes.
    """

    def __init__(self, program: str, environment: Mapping[str, str], log: Path, cwd: Path, umask: int) -> None:
        log.touch()
        # A daemon, or multiprocessing waits for it when the tests end.
        arguments = (program, dict(environment), log, cwd, umask)
        self._process = _forking.Process(target=_run, args=arguments, daemon=True)
        self._process.start()
        assert self._process.pid is not None
        self.pid = self._process.pid

    @property
    def returncode(self) -> int | None:
        return self._process.exitcode

    def poll(self) -> int | None:
        return self._process.exitcode

    def wait(self, timeout: float | None = None) -> int:
        self._process.join(timeout)
        code = self._process.exitcode
        if code is None:
            assert timeout is not None
            raise subprocess.TimeoutExpired(str(self._process), timeout)
        return code

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)


def _run(program: str, environment: dict[str, str], log: Path, cwd: Path, umask: int) -> None:
    os.environ.clear()
    os.environ.update(environment)
    os.umask(umask)
    os.chdir(cwd)
    out = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    for standard in (1, 2):
        os.dup2(out, standard)
    os.close(out)
    sys.argv = [program]
    try:
        sys.exit(load_program(f"{program}.service:main")())
    finally:
        atexit._run_exitfuncs()  # multiprocessing leaves them out
