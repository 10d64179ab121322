"""An API, a worker and their services of their own for a measurement."""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

from tests.support.machine import free_port
from tests.support.relay import Relay

from relay_core.store.schema.migrate import upgrade
from relay_stack.services.postgres import EmbeddedPostgres
from relay_stack.services.valkey import EmbeddedValkey

IMAGE = "relay-base:latest"


@contextmanager
def running(name: str, more: Mapping[str, str] | None = None, *, worker: bool = True) -> Iterator[Relay]:
    """Run an API and a worker with an embedded Postgres (fsync on) and Valkey while the context lasts.

    Args:
        name: part of the name of the temporary directory, which is removed at the end.
        more: settings that override or extend those of `environment`.
        worker: whether to start a worker.
    """
    with ExitStack() as closing:
        root = Path(tempfile.mkdtemp(prefix=f"relay-{name}-"))
        closing.callback(shutil.rmtree, root, ignore_errors=True)
        root.chmod(0o755)
        postgres, valkey = EmbeddedPostgres(root / "postgres"), EmbeddedValkey(root / "valkey")
        closing.callback(postgres.stop)
        database_url = postgres.start()
        upgrade(database_url)
        closing.callback(valkey.stop)
        relay = Relay({**environment(root, database_url, valkey.start()), **(more or {})}, root)
        closing.callback(relay.end)
        relay.start("api")
        if worker:
            relay.start("worker")
        yield relay


def start_bench_worker(relay: Relay, module: str) -> None:
    """Start the worker of a bench, ``python -m MODULE --worker``, and return when it takes work."""
    with (relay.root / "worker.log").open("ab") as log:
        command = [sys.executable, "-m", module, "--worker"]
        environment = {**relay.environment, "RELAY_API_PUBLIC_URL": relay.api_url}
        relay.processes["worker"] = subprocess.Popen(command, env=environment, stdout=log, stderr=log)

    def takes_work() -> bool:
        log = relay.log_of("worker")
        if relay.processes["worker"].poll() is not None:
            sys.exit(f"the worker of the bench ended:\n{log[-4000:]}")
        return "ready." in log

    relay.until(takes_work, seconds=60, what="worker ready")


def environment(root: Path, database_url: str, redis_url: str) -> dict[str, str]:
    """Return the environment of the API and the worker."""
    return {
        **{name: value for name, value in os.environ.items() if not name.startswith("RELAY_")},
        "RELAY_DATABASE_URL": database_url,
        "RELAY_REDIS_URL": redis_url,
        "RELAY_DATA_DIR": str(root / "data"),
        "RELAY_API_PORT": str(free_port()),
        "RELAY_GIT_ALLOW_FILE": "true",
        "RELAY_GIT_ALLOW_PRIVATE_HOSTS": "true",
        "RELAY_WORKER_CONCURRENCY": "200",
        "RELAY_NODE_MAX_WORKSPACES": "1000",
        "RELAY_NODE_MEMORY_BYTES": str(1 << 50),
        "RELAY_NODE_PIDS": str(1 << 30),
        "RELAY_CONTAINER_NETWORK": f"relay-bench-{os.getpid()}",
    }
