"""What the stack's own processes are told: ports and environment (pure but for the look at free ports)."""

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from relay_stack.images.build import own_ca_bundle
from relay_stack.services.process import Program

RUNTIME_BUCKETS = "0.5,1,5,15,60,300,900,3600,7200,14400,28800"
"""Seconds: Flower's own end at 10, and runs of agents last hours."""

FLOWER_SAVE_MILLISECONDS = 60_000
"""It also saves at an orderly end."""
FLOWER_MAX_TASKS = 10_000
"""All of them are written at each save."""
FLOWER_INSPECT_MILLISECONDS = 3_000
"""Its own second is short for a busy worker."""

LOCAL_POLICY = {
    "RELAY_GIT_ALLOW_FILE": "true",
    "RELAY_GIT_ALLOW_HTTP": "true",
    "RELAY_GIT_ALLOW_PRIVATE_HOSTS": "true",
}
"""What a machine of one's own allows and a server does not; the environment has the last word."""


SECRET_KEYS = ("RELAY_SECRET_KEYS", "RELAY_SECRET_KEYS_FILE")
"""Where keys of secrets may come from."""
NOT_FOR_FLOWER = {*SECRET_KEYS, "RELAY_DATABASE_URL"}
"""It reads the queue alone."""


@dataclass(frozen=True)
class Endpoints:
    """Where the stack's parts are reached."""

    database_url: str
    redis_url: str
    docker_host: str
    api_port: int
    flower_port: int
    worker_http_port: int
    flower_user: str
    flower_password: str
    secret_key: str

    @property
    def api_url(self) -> str:
        """Of the API, on loopback."""
        return f"http://127.0.0.1:{self.api_port}"

    @property
    def flower_url(self) -> str:
        """Of Flower, on loopback."""
        return f"http://127.0.0.1:{self.flower_port}"


def environment_of(ends: Endpoints, data_dir: Path, base: Mapping[str, str]) -> dict[str, str]:
    """The environment of API and worker: `base`, and over it where everything is."""
    own_key = {} if any(base.get(name) for name in SECRET_KEYS) else {"RELAY_SECRET_KEYS": ends.secret_key}
    made = {
        **LOCAL_POLICY,
        **base,
        **own_key,
        "RELAY_DATABASE_URL": ends.database_url,
        "RELAY_REDIS_URL": ends.redis_url,
        "RELAY_DATA_DIR": str(data_dir),
        "RELAY_DOCKER_HOST": ends.docker_host,
        "RELAY_API_HOST": "127.0.0.1",
        "RELAY_API_PORT": str(ends.api_port),
        "RELAY_FLOWER_PORT": str(ends.flower_port),
        "RELAY_WORKER_HTTP_PORT": str(ends.worker_http_port),
        "RELAY_FLOWER_USER": ends.flower_user,
        "RELAY_FLOWER_PASSWORD": ends.flower_password,
        "PYTHONUNBUFFERED": "1",
    }
    bundle = own_ca_bundle(base)
    if bundle is not None:
        made["RELAY_CA_BUNDLE"] = str(bundle)
    return made


def flower_words(port: int, state_file: Path) -> tuple[str, ...]:
    """How to run Flower; its password comes by environment.

    It keeps its view over a restart, so that what still runs can be ended there; Relay reads nothing of it.
    """
    return (
        *(sys.executable, "-m", "celery", "-A", "relay_core.queue.flower_app:app", "flower"),
        *("--address=127.0.0.1", f"--port={port}", f"--task-runtime-metric-buckets={RUNTIME_BUCKETS}"),
        *("--persistent=True", f"--db={state_file}", f"--state-save-interval={FLOWER_SAVE_MILLISECONDS}"),
        *(f"--max-tasks={FLOWER_MAX_TASKS}", f"--inspect-timeout={FLOWER_INSPECT_MILLISECONDS}"),
    )


def app_programs(ends: Endpoints, data_dir: Path, base: Mapping[str, str]) -> dict[str, Program]:
    """How to run API, worker and Flower, by name."""
    environment = environment_of(ends, data_dir, base)
    of_flower = {name: value for name, value in environment.items() if name not in NOT_FOR_FLOWER}
    logs = data_dir / "logs"
    return {
        "api": Program("api", (sys.executable, "-m", "relay_api"), logs / "api.log", environment),
        # It detaches from its runs and lets go of what it has reserved before it ends.
        "worker": Program(
            "worker", (sys.executable, "-m", "relay_workers"), logs / "worker.log", environment, stop_seconds=30
        ),
        # By environment: an argument would show the password to everybody on this machine.
        "flower": Program(
            "flower",
            flower_words(ends.flower_port, data_dir / "flower"),
            logs / "flower.log",
            {**of_flower, "FLOWER_BASIC_AUTH": f"{ends.flower_user}:{ends.flower_password}"},
        ),
    }
