"""Start a container engine if none answers, and record which process was started."""

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
from relay_stack.machine.container_engine import Engine, FailedSearch, Reach, find_engine, probe
from relay_stack.machine.packages import install, program
from relay_stack.services.process import last_lines

PACKAGES = ("docker.io", "iptables")
"""Packages of the engine on Debian and Ubuntu. docker.io only recommends iptables, but container networks need it."""
START_SECONDS = 60
STOP_SECONDS = 60


@dataclass(frozen=True)
class Daemon:
    """How to run dockerd."""

    host: str = "unix:///var/run/docker.sock"
    options: tuple[str, ...] = ()
    inside: tuple[str, ...] = ()
    """Command that sets up namespaces and then executes dockerd; empty to run dockerd directly."""


@dataclass(frozen=True)
class StartedEngine:
    """A dockerd that Relay started, identified by its pid and its start time."""

    pid: int
    began: float
    host: str


def ensure_engine(data_dir: Path, consent: Consent) -> Engine:
    """Return an engine that answers. If none does, start the Docker engine; install it first if it is missing.

    Raises:
        StackProblem: starting or installing is not allowed or failed; the message contains the command to run.
    """
    found = find_engine()
    if isinstance(found, Engine):
        return found
    _explain_if_forbidden(found)
    if program("dockerd") is None:
        install(PACKAGES, needed_by="running containers", consent=consent, log_folder=data_dir / "logs")
        found = find_engine()  # the package may have started the engine
        if isinstance(found, Engine):
            return found
    elif not consent.given("Starting the Docker engine"):
        raise StackProblem("The Docker engine is installed but does not run. Run as root: systemctl start docker")
    if Path("/run/systemd/system").is_dir():
        return _start_by_systemd()
    return start_detached(data_dir, Daemon())


def stop_engine(data_dir: Path) -> bool:
    """Stop the dockerd that `ensure_engine` started, and return whether it was still running."""
    started = _read(data_dir)
    process = _same_process(started) if started else None
    if process is not None:
        process.send_signal(signal.SIGTERM)
        _, alive = psutil.wait_procs([process], timeout=STOP_SECONDS)
        for stuck in alive:
            stuck.kill()
    _state_file(data_dir).unlink(missing_ok=True)
    return process is not None


def started_engine(data_dir: Path) -> StartedEngine | None:
    """Return the dockerd that Relay started; None if Relay started none or it no longer runs."""
    started = _read(data_dir)
    return started if started and _same_process(started) else None


def _explain_if_forbidden(found: FailedSearch) -> None:
    if found.forbidden and os.geteuid() != 0:
        raise StackProblem(
            f"A container engine is there, but this user may not use {found.forbidden.removeprefix('unix://')}. "
            f"Run as root: usermod -aG docker {os.environ.get('USER') or os.geteuid()}; then log in again."
        )


def _start_by_systemd() -> Engine:
    done = subprocess.run(("systemctl", "start", "docker"), capture_output=True, text=True, check=False)
    found = find_engine()
    if isinstance(found, FailedSearch):
        raise StackProblem(f"`systemctl start docker` did not start the engine: {done.stderr.strip()}")
    return found


def start_detached(data_dir: Path, daemon: Daemon) -> Engine:
    """Start dockerd in its own session, so that it and the containers keep running when the stack stops.

    Raises:
        StackProblem: dockerd does not start; the message contains the end of its log.
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
    while probe(daemon.host) is not Reach.ANSWERS:  # poll: dockerd reports only to systemd that it is ready
        if process.poll() is not None or time.monotonic() > deadline:
            stop_engine(data_dir)
            raise StackProblem(
                f"The Docker engine does not start here. Start one yourself, or set DOCKER_HOST to an engine "
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
