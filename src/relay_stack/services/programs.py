"""Command lines and environments of API, worker and Flower (pure)."""

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from relay_stack.images.build import own_ca_bundle
from relay_stack.services.process import Program

RUNTIME_BUCKETS = "0.5,1,5,15,60,300,900,3600,7200,14400,28800"
"""Upper bounds of Flower's histogram of run times, in seconds; its default ends at 10 s, and agents run for hours."""

FLOWER_SAVE_MILLISECONDS = 60_000
"""Time between two saves of Flower's state; it also saves when it ends in order."""
FLOWER_MAX_TASKS = 10_000
"""Tasks that Flower remembers; each save writes all of them."""
FLOWER_INSPECT_MILLISECONDS = 3_000
"""Time for a worker to answer Flower; the default of one second is short for a busy worker."""

LOCAL_POLICY = {
    "RELAY_GIT_ALLOW_FILE": "true",
    "RELAY_GIT_ALLOW_HTTP": "true",
    "RELAY_GIT_ALLOW_PRIVATE_HOSTS": "true",
}
"""Remotes that the local stack allows and a server does not; variables in the environment override them."""


SECRET_KEYS = ("RELAY_SECRET_KEYS", "RELAY_SECRET_KEYS_FILE")
"""Variables that can hold the key for secrets of projects."""
NOT_FOR_FLOWER = {*SECRET_KEYS, "RELAY_DATABASE_URL"}
"""Variables that Flower does not get: it reads only the queue."""


@dataclass(frozen=True)
class Endpoints:
    """Addresses and credentials of the stack's parts."""

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
        """URL of the API, on loopback."""
        return f"http://127.0.0.1:{self.api_port}"

    @property
    def flower_url(self) -> str:
        """URL of Flower, on loopback."""
        return f"http://127.0.0.1:{self.flower_port}"


def environment_of(endpoints: Endpoints, data_dir: Path, base: Mapping[str, str]) -> dict[str, str]:
    """Environment of API and worker: LOCAL_POLICY, over it `base`, over both the addresses of the stack."""
    key = {} if any(base.get(name) for name in SECRET_KEYS) else {"RELAY_SECRET_KEYS": endpoints.secret_key}
    variables = {
        **LOCAL_POLICY,
        **base,
        **key,
        "RELAY_DATABASE_URL": endpoints.database_url,
        "RELAY_REDIS_URL": endpoints.redis_url,
        "RELAY_DATA_DIR": str(data_dir),
        "RELAY_DOCKER_HOST": endpoints.docker_host,
        "RELAY_API_HOST": "127.0.0.1",
        "RELAY_API_PORT": str(endpoints.api_port),
        "RELAY_FLOWER_PORT": str(endpoints.flower_port),
        "RELAY_WORKER_HTTP_PORT": str(endpoints.worker_http_port),
        "RELAY_FLOWER_USER": endpoints.flower_user,
        "RELAY_FLOWER_PASSWORD": endpoints.flower_password,
        "PYTHONUNBUFFERED": "1",
    }
    bundle = own_ca_bundle(base)
    if bundle is not None:
        variables["RELAY_CA_BUNDLE"] = str(bundle)
    return variables


def flower_command(port: int, state_file: Path) -> tuple[str, ...]:
    """Command line of Flower.

    The password is not in it: Flower reads it from its environment. The state file keeps Flower's list of tasks over a
    restart, so that running tasks can be terminated there; Relay does not read the file.
    """
    return (
        *(sys.executable, "-m", "celery", "-A", "relay_core.queue.flower_app:app", "flower"),
        *("--address=127.0.0.1", f"--port={port}", f"--task-runtime-metric-buckets={RUNTIME_BUCKETS}"),
        *("--persistent=True", f"--db={state_file}", f"--state-save-interval={FLOWER_SAVE_MILLISECONDS}"),
        *(f"--max-tasks={FLOWER_MAX_TASKS}", f"--inspect-timeout={FLOWER_INSPECT_MILLISECONDS}"),
    )


def app_programs(endpoints: Endpoints, data_dir: Path, base: Mapping[str, str]) -> dict[str, Program]:
    """Programs by name: `api`, `worker` and `flower`."""
    environment = environment_of(endpoints, data_dir, base)
    of_flower = {name: value for name, value in environment.items() if name not in NOT_FOR_FLOWER}
    logs = data_dir / "logs"
    return {
        "api": Program("api", (sys.executable, "-m", "relay_api"), logs / "api.log", environment),
        # At its end the worker detaches from its runs and gives reserved messages back.
        "worker": Program(
            "worker", (sys.executable, "-m", "relay_workers"), logs / "worker.log", environment, stop_seconds=30
        ),
        # The password is in the environment, because every user of the machine can read arguments.
        "flower": Program(
            "flower",
            flower_command(endpoints.flower_port, data_dir / "flower"),
            logs / "flower.log",
            {**of_flower, "FLOWER_BASIC_AUTH": f"{endpoints.flower_user}:{endpoints.flower_password}"},
        ),
    }
