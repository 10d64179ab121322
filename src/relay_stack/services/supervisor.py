"""The supervisor: one process per stack that starts all other processes as its children and keeps them alive."""

import json
import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO

import psutil

from relay_core.domain.errors import RelayError
from relay_core.settings import get_settings
from relay_core.store.schema import migrate
from relay_stack.files.data_dir import stack_lock
from relay_stack.files.local_secrets import ensure_secrets
from relay_stack.files.local_settings import remember_environment, remembered_environment
from relay_stack.files.stack_state import ProcessState, StackState, forget_state, write_state
from relay_stack.services.app_service import AppService
from relay_stack.services.keep_alive import ProcessKeeper, StopRequested, stop_on_signals
from relay_stack.services.ports import choose_port
from relay_stack.services.postgres import EmbeddedPostgres
from relay_stack.services.programs import Endpoints, app_programs, environment_of
from relay_stack.services.valkey import EmbeddedValkey
from relay_stack.services.worker_service import WorkerService

log = logging.getLogger(__name__)


@dataclass
class StartReporter:
    """Sends the progress of a start to the process that started the supervisor, as one JSON object per line.

    Attributes:
        pipe: the writing end of the pipe; the reader may close the other end at any time.
    """

    pipe: IO[str]

    def progress(self, text: str) -> None:
        """Send a line of progress, which is shown to the person who waits for the start."""
        self.send("progress", text)

    def send(self, kind: str, text: str = "") -> None:
        """Send an object with `kind` (`progress`, `problem`, `ready`) and `text`; do nothing if the reader is gone."""
        try:
            self.pipe.write(json.dumps({"kind": kind, "text": text}) + "\n")
            self.pipe.flush()
        except BrokenPipeError:
            log.info("the reader of the progress has gone: %s", text)


def supervise(data_dir: Path, docker_host: str, reporter: StartReporter) -> bool:
    """Run the stack until a signal stops it.

    Args:
        data_dir: data directory of the stack.
        docker_host: address of the container engine.
        reporter: gets the progress of the start, and the problem if the stack cannot start or continue.

    Returns:
        True if a signal stopped the stack; False if it could not start or continue.
    """
    stop_on_signals()
    state_file = _StateFile(data_dir)
    keeper = ProcessKeeper(state_file.show)
    try:
        with stack_lock(data_dir):
            try:
                state_file.open(_start_all(keeper, data_dir, docker_host, reporter))
                reporter.send("ready")
                keeper.keep()
            finally:
                keeper.stop()
                forget_state(data_dir)
    except StopRequested:
        log.info("stopped")
    except (RelayError, OSError) as error:
        log.exception("cannot go on")
        reporter.send("problem", str(error))
        return False
    return True


class _StateFile:
    """Writes `stack.json` when the start is complete, and after each later change of a process."""

    def __init__(self, data_dir: Path) -> None:
        self._data_dir = data_dir
        self._state: StackState | None = None
        self._processes: tuple[ProcessState, ...] = ()

    def open(self, state: StackState) -> None:
        self._state = state
        self.show(self._processes)

    def show(self, processes: Sequence[ProcessState]) -> None:
        self._processes = tuple(processes)
        if self._state is None:
            return
        try:
            write_state(self._data_dir, replace(self._state, processes=self._processes))
        except OSError as error:  # a full disk must not stop the stack
            log.warning("cannot write stack.json: %s", error)


def _start_all(keeper: ProcessKeeper, data_dir: Path, docker_host: str, reporter: StartReporter) -> StackState:
    database_url = _start_database(keeper, data_dir, reporter)
    redis_url = _start_queue(keeper, data_dir, reporter)
    secrets = ensure_secrets(data_dir, database_url)
    last = remembered_environment(data_dir)
    endpoints = Endpoints(
        database_url=database_url,
        redis_url=redis_url,
        docker_host=docker_host,
        api_port=choose_port("RELAY_API_PORT", 8700, os.environ, reporter.progress, last),
        flower_port=choose_port("RELAY_FLOWER_PORT", 5555, os.environ, reporter.progress, last),
        worker_http_port=choose_port("RELAY_WORKER_HTTP_PORT", 8701, os.environ, reporter.progress, last),
        flower_user=get_settings().flower_user,
        flower_password=get_settings().flower_password or secrets.flower_password,
        secret_key=secrets.secret_key,
    )
    _start_apps(keeper, endpoints, data_dir, reporter)
    me = psutil.Process()
    return StackState(
        api_url=endpoints.api_url,
        token=secrets.token,
        flower_url=endpoints.flower_url,
        flower_user=endpoints.flower_user,
        flower_password=endpoints.flower_password,
        processes=(),
        supervisor_pid=me.pid,
        supervisor_began=me.create_time(),
    )


def _start_database(keeper: ProcessKeeper, data_dir: Path, reporter: StartReporter) -> str:
    url = os.environ.get("RELAY_DATABASE_URL")
    if not url:
        reporter.progress("Starting Postgres")
        postgres = EmbeddedPostgres(data_dir / "postgres")
        keeper.start("postgres", postgres)
        url = postgres.url
    migrate.upgrade(url)
    return url


def _start_queue(keeper: ProcessKeeper, data_dir: Path, reporter: StartReporter) -> str:
    url = os.environ.get("RELAY_REDIS_URL")
    if url:
        return url
    reporter.progress("Starting Valkey (the Redis-compatible server)")
    valkey = EmbeddedValkey(data_dir / "valkey")
    keeper.start("redis", valkey)
    return valkey.url


def _start_apps(keeper: ProcessKeeper, endpoints: Endpoints, data_dir: Path, reporter: StartReporter) -> None:
    reporter.progress("Starting API, worker and Flower")
    programs = app_programs(endpoints, data_dir, os.environ)
    remember_environment(data_dir, environment_of(endpoints, data_dir, os.environ))
    ready = {"api": f"{endpoints.api_url}/healthz", "flower": f"{endpoints.flower_url}/healthcheck"}
    for name, program in programs.items():  # start them together, because each imports for a second or two
        service = (
            WorkerService(program, endpoints.redis_url) if name == "worker" else AppService(program, ready.get(name))
        )
        keeper.start(name, service, wait=False)
    for name in programs:
        keeper.wait_ready(name)
