"""Command lines and environments of API, worker and Flower. Nothing is started here."""

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from relay_stack.images.build import own_ca_bundle
from relay_stack.services.process import Program

RUNTIME_BUCKETS = "0.5,1,5,15,60,300,900,3600,7200,14400,28800"
"""Upper bounds of Flower's histogram of run times, in seconds. Flower's own end at 10 s, but agents run for hours."""

FLOWER_SAVE_MILLISECONDS = 60_000
"""Time between two saves of Flower's state; Flower also saves it when it stops normally."""
FLOWER_MAX_TASKS = 10_000
"""Tasks that Flower remembers; each save writes all of them."""
FLOWER_INSPECT_MILLISECONDS = 3_000
"""Time for a worker to answer Flower; Flower's default of one second is too short for a busy worker."""

LOCAL_POLICY = {
    "RELAY_GIT_ALLOW_FILE": "true",
    "RELAY_GIT_ALLOW_HTTP": "true",
    "RELAY_GIT_ALLOW_PRIVATE_HOSTS": "true",
}
"""Git remotes that the local stack allows but a server by default does not; the environment overrides these values."""


SECRET_KEYS = ("RELAY_SECRET_KEYS", "RELAY_SECRET_KEYS_FILE")
"""Variables that can contain the keys that encrypt the secrets of projects."""
NOT_FOR_FLOWER = {*SECRET_KEYS, "RELAY_DATABASE_URL"}
"""Variables that Flower does not get, because it needs only the queue."""


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
        """URL of the API on the loopback address."""
        return f"http://127.0.0.1:{self.api_port}"

    @property
    def flower_url(self) -> str:
        """URL of Flower on the loopback address."""
        return f"http://127.0.0.1:{self.flower_port}"


def environment_of(endpoints: Endpoints, data_dir: Path, base: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of API and worker: LOCAL_POLICY, overridden by `base`, then by the stack's addresses.

    Args:
        endpoints: addresses and credentials of the stack.
        data_dir: data directory of the stack.
        base: environment of the supervisor. If it contains keys for secrets, the stack's own key is not added.
    """
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
        "RELAY_FLOWER_URL": base.get("RELAY_FLOWER_URL") or endpoints.flower_url,
        "PYTHONUNBUFFERED": "1",
    }
    bundle = own_ca_bundle(base)
    if bundle is not None:
        variables["RELAY_CA_BUNDLE"] = str(bundle)
    return variables


def flower_command(port: int, state_file: Path) -> tuple[str, ...]:
    """Return the command line of Flower.

    It does not contain the password, which Flower reads from its environment. The state file keeps Flower's list of
    tasks over a restart, so that running tasks can still be terminated in Flower; Relay does not read the file.
    """
    return (
        *(sys.executable, "-m", "celery", "-A", "relay_core.queue.flower_app:app", "flower"),
        *("--address=127.0.0.1", f"--port={port}", f"--task-runtime-metric-buckets={RUNTIME_BUCKETS}"),
        *("--persistent=True", f"--db={state_file}", f"--state-save-interval={FLOWER_SAVE_MILLISECONDS}"),
        *(f"--max-tasks={FLOWER_MAX_TASKS}", f"--inspect-timeout={FLOWER_INSPECT_MILLISECONDS}"),
    )


def app_programs(endpoints: Endpoints, data_dir: Path, base: Mapping[str, str]) -> dict[str, Program]:
    """Return the programs by name: `api`, `worker` and `flower`."""
    environment = environment_of(endpoints, data_dir, base)
    # The links in the results of Celery's tasks need a host, as people read them in Flower.
    of_worker = {**environment, "RELAY_API_PUBLIC_URL": base.get("RELAY_API_PUBLIC_URL") or endpoints.api_url}
    of_flower = {name: value for name, value in of_worker.items() if name not in NOT_FOR_FLOWER}
    logs = data_dir / "logs"
    return {
        "api": Program("api", (sys.executable, "-m", "relay_api"), logs / "api.log", environment),
        # When it stops, the worker detaches from its runs and returns reserved messages to the queue.
        "worker": Program(
            "worker", (sys.executable, "-m", "relay_workers"), logs / "worker.log", of_worker, stop_seconds=30
        ),
        # The password is in the environment, because every user of the machine can read arguments.
        "flower": Program(
            "flower",
            flower_command(endpoints.flower_port, data_dir / "flower"),
            logs / "flower.log",
            {**of_flower, "FLOWER_BASIC_AUTH": f"{endpoints.flower_user}:{endpoints.flower_password}"},
        ),
    }
