"""Gets a container engine to run where none answers, and remembers what it started."""

import json
import os
import signal
import subprocess
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil

from relay_core.console.output import note
from relay_stack.errors import StackProblem
from relay_stack.files.private_file import write_private
from relay_stack.machine.consent import Consent
from relay_stack.machine.container_engine import Engine, NoEngine, Reach, find_engine, probe
from relay_stack.machine.packages import install, program
from relay_stack.services.process import last_lines

PACKAGES = ("docker.io", "iptables")
"""The engine of Debian and Ubuntu. `iptables` is only recommended by it, and networks need it."""
START_SECONDS = 60
STOP_SECONDS = 60


@dataclass(frozen=True)
class Daemon:
    """How dockerd is run."""

    host: str = "unix:///var/run/docker.sock"
    options: tuple[str, ...] = ()
    inside: tuple[str, ...] = ()
    """A program that sets up namespaces and becomes dockerd."""


@dataclass(frozen=True)
class StartedEngine:
    """A dockerd that we started, known by its pid and the time it began."""

    pid: int
    began: float
    host: str


def ensure_engine(data_dir: Path, consent: Consent) -> Engine:
    """An engine that answers: found, else started, else installed and started.

    Raises:
        StackProblem: that may not or cannot be done; with what to run.
    """
    found = find_engine()
    if isinstance(found, Engine):
        return found
    _explain_if_forbidden(found)
    if program("dockerd") is None:
        install(PACKAGES, needed_by="running containers", consent=consent, log_folder=data_dir / "logs")
        found = find_engine()  # the package may have started it
        if isinstance(found, Engine):
            return found
    elif not consent.given("Starting the Docker engine"):
        raise StackProblem("The Docker engine is installed but does not run. Run as root: systemctl start docker")
    if Path("/run/systemd/system").is_dir():
        return _start_by_systemd()
    return start_detached(data_dir, Daemon())


def stop_engine(data_dir: Path) -> bool:
    """Ends the dockerd that `ensure_engine` started, if it is still the same one; True if there was one."""
    started = _read(data_dir)
    process = _same_process(started) if started else None
    if process is not None:
        process.send_signal(signal.SIGTERM)
        _, alive = psutil.wait_procs([process], timeout=STOP_SECONDS)
        for one in alive:
            one.kill()
    _state_file(data_dir).unlink(missing_ok=True)
    return process is not None


def started_engine(data_dir: Path) -> StartedEngine | None:
    """The dockerd we started, while it runs."""
    started = _read(data_dir)
    return started if started and _same_process(started) else None


def _explain_if_forbidden(found: NoEngine) -> None:
    if found.forbidden and os.geteuid() != 0:
        raise StackProblem(
            f"A container engine is there, but this user may not use {found.forbidden.removeprefix('unix://')}. "
            f"Run as root: usermod -aG docker {os.environ.get('USER') or os.geteuid()}; then log in again."
        )


def _start_by_systemd() -> Engine:
    done = subprocess.run(("systemctl", "start", "docker"), capture_output=True, text=True, check=False)
    found = find_engine()
    if isinstance(found, NoEngine):
        raise StackProblem(f"`systemctl start docker` did not bring the engine up: {done.stderr.strip()}")
    return found


def start_detached(data_dir: Path, daemon: Daemon) -> Engine:
    """Runs dockerd in a session of its own: it stays when the stack stops, since containers may go on.

    Raises:
        StackProblem: it does not come up; with the end of its log.
    """
    log_file = data_dir / "logs" / "dockerd.log"
    log_file.parent.mkdir(parents=True, exist_ok=True)
    note(f"Starting the Docker engine (its log: {log_file})")
    with log_file.open("ab") as log:
        process = subprocess.Popen(
            (*daemon.inside, program("dockerd") or "dockerd", f"--host={daemon.host}", *daemon.options),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd="/",
            start_new_session=True,
        )
    began = psutil.Process(process.pid).create_time()
    write_private(_state_file(data_dir), json.dumps(asdict(StartedEngine(process.pid, began, daemon.host))))
    deadline = time.monotonic() + START_SECONDS
    while probe(daemon.host) is not Reach.ANSWERS:  # dockerd tells only systemd when it is ready
        if process.poll() is not None or time.monotonic() > deadline:
            stop_engine(data_dir)
            raise StackProblem(
                f"The Docker engine does not start here. Start one yourself, or set DOCKER_HOST to one elsewhere "
                f"that sees the same files. The end of {log_file}:\n{last_lines(log_file)}"
            )
        time.sleep(0.1)
    return Engine(daemon.host)


def _state_file(data_dir: Path) -> Path:
    return data_dir / "engine.json"


def _read(data_dir: Path) -> StartedEngine | None:
    try:
        return StartedEngine(**json.loads(_state_file(data_dir).read_text()))
    except FileNotFoundError:
        return None


def _same_process(started: StartedEngine) -> psutil.Process | None:
    try:
        process = psutil.Process(started.pid)
        same = abs(process.create_time() - started.began) < 1 and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return None
    return process if same else None
