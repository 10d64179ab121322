"""The supervisor: one process per stack, parent of all the others, in a session of its own."""

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
from relay_stack.services.keep_alive import StopRequested, Watch, stop_on_signals
from relay_stack.services.ports import choose_port
from relay_stack.services.postgres import EmbeddedPostgres
from relay_stack.services.programs import Endpoints, app_programs, environment_of
from relay_stack.services.valkey import EmbeddedValkey
from relay_stack.services.worker_service import WorkerService

log = logging.getLogger(__name__)


@dataclass
class Announcer:
    """Tells whoever called `relay up` how the start goes: one JSON object a line, until that one leaves."""

    pipe: IO[str]

    def say(self, text: str) -> None:
        """One line for the person who waits."""
        self.tell("say", text)

    def tell(self, kind: str, text: str = "") -> None:
        """`kind` is `say`, `problem` or `ready`."""
        try:
            self.pipe.write(json.dumps({"kind": kind, "text": text}) + "\n")
            self.pipe.flush()
        except BrokenPipeError:
            log.info("nobody listens any more: %s", text)


def supervise(data_dir: Path, docker_host: str, announcer: Announcer) -> bool:
    """Runs the stack until it is told to stop; False when it could not be started.

    Problems go to the announcer.
    """
    stop_on_signals()
    board = _Board(data_dir)
    watch = Watch(board.show)
    try:
        with stack_lock(data_dir):
            try:
                board.open(_start_all(watch, data_dir, docker_host, announcer))
                announcer.tell("ready")
                watch.keep()
            finally:
                watch.stop()
                forget_state(data_dir)
    except StopRequested:
        log.info("stopped")
    except (RelayError, OSError) as error:
        log.exception("cannot go on")
        announcer.tell("problem", str(error))
        return False
    return True


class _Board:
    """Keeps `stack.json` true once there is something to show."""

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
        except OSError as error:  # a full disk must not end the stack that could be asked to free it
            log.warning("cannot write stack.json: %s", error)


def _start_all(watch: Watch, data_dir: Path, docker_host: str, announcer: Announcer) -> StackState:
    database_url = _start_database(watch, data_dir, announcer)
    redis_url = _start_queue(watch, data_dir, announcer)
    secrets = ensure_secrets(data_dir, database_url)
    last = remembered_environment(data_dir)
    ends = Endpoints(
        database_url=database_url,
        redis_url=redis_url,
        docker_host=docker_host,
        api_port=choose_port("RELAY_API_PORT", 8700, os.environ, announcer.say, last),
        flower_port=choose_port("RELAY_FLOWER_PORT", 5555, os.environ, announcer.say, last),
        worker_http_port=choose_port("RELAY_WORKER_HTTP_PORT", 8701, os.environ, announcer.say, last),
        flower_user=get_settings().flower_user,
        flower_password=get_settings().flower_password or secrets.flower_password,
        secret_key=secrets.secret_key,
    )
    _start_apps(watch, ends, data_dir, announcer)
    me = psutil.Process()
    return StackState(
        api_url=ends.api_url,
        token=secrets.token,
        flower_url=ends.flower_url,
        flower_user=ends.flower_user,
        flower_password=ends.flower_password,
        processes=(),
        supervisor_pid=me.pid,
        supervisor_began=me.create_time(),
    )


def _start_database(watch: Watch, data_dir: Path, announcer: Announcer) -> str:
    url = os.environ.get("RELAY_DATABASE_URL")
    if not url:
        announcer.say("Starting Postgres")
        postgres = EmbeddedPostgres(data_dir / "postgres")
        watch.start("postgres", postgres)
        url = postgres.url
    migrate.upgrade(url)
    return url


def _start_queue(watch: Watch, data_dir: Path, announcer: Announcer) -> str:
    url = os.environ.get("RELAY_REDIS_URL")
    if url:
        return url
    announcer.say("Starting Valkey (the Redis-compatible server)")
    valkey = EmbeddedValkey(data_dir / "valkey")
    watch.start("redis", valkey)
    return valkey.url


def _start_apps(watch: Watch, ends: Endpoints, data_dir: Path, announcer: Announcer) -> None:
    announcer.say("Starting API, worker and Flower")
    programs = app_programs(ends, data_dir, os.environ)
    remember_environment(data_dir, environment_of(ends, data_dir, os.environ))
    ready = {"api": f"{ends.api_url}/healthz", "flower": f"{ends.flower_url}/healthcheck"}
    for name, program in programs.items():  # all at once: each takes a second or two to import
        service = WorkerService(program, ends.redis_url) if name == "worker" else AppService(program, ready.get(name))
        watch.start(name, service, wait=False)
    for name in programs:
        watch.wait_ready(name)
