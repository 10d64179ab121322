"""Measure rows 1 to 4 of the performance table: ``python -m bench [--repeat N] [--runs N]``.

For the first three rows, the same work is also measured with bare tools (docker, git). The bench starts its own API,
worker, durable Postgres and Valkey, and uses this machine's container engine.
"""

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from bench.live import live_latencies
from tests.support.machine import free_port
from tests.support.relay import Relay, make_repo

from relay_core.store.schema.migrate import upgrade
from relay_stack.services.postgres import EmbeddedPostgres
from relay_stack.services.valkey import EmbeddedValkey

IMAGE = "relay-base:latest"
STAMP = "date +%s%N"
"""Shell command that prints the nanoseconds since the epoch."""
FLOOD_MIB = 256
"""Size of the output that the throughput measurement writes."""


class Row(NamedTuple):
    """One row of the table: a figure measured with Relay and the same figure measured with bare tools.

    Attributes:
        what: what is measured.
        relay: the figure of Relay.
        bare: the figure of the bare tools.
        unit: unit of both figures; empty if `what` contains it.
        target: bound that the ratio `relay` / `bare` should meet.
    """

    what: str
    relay: float
    bare: float
    unit: str
    target: str


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--repeat", type=int, default=10, help="measurements of rows 1 and 2")
    parser.add_argument("--runs", type=int, default=100, help="runs at once in row 4")
    options = parser.parse_args()
    root = Path(tempfile.mkdtemp(prefix="relay-bench-"))
    root.chmod(0o755)
    postgres, valkey = EmbeddedPostgres(root / "postgres"), EmbeddedValkey(root / "valkey")
    relay = None
    try:
        database_url = postgres.start()
        upgrade(database_url)
        relay = Relay(environment(root, database_url, valkey.start()), root)
        relay.start("api")
        relay.start("worker")
        repo = make_repo(root / "repo", {f"f{number}.txt": "x" * 100 for number in range(200)})
        rows = [
            warm_start(relay, repo, options.repeat),
            new_workspace(relay, repo, options.repeat),
            throughput(relay, repo),
        ]
        latencies = statistics.quantiles(live_latencies(relay, repo, options.runs), n=100)
        print(f"\n{'what':<52}{'Relay':>12}{'bare':>12}{'ratio':>8}  to reach")
        for row in rows:
            figures = f"{row.relay:>9.1f} {row.unit:<2}{row.bare:>9.1f} {row.unit:<2}{row.relay / row.bare:>8.2f}"
            print(f"{row.what:<52}{figures}  {row.target}")
        for percent, target in ((50, "<= 50"), (99, "<= 250")):
            what = f"log line to SSE client, {options.runs} runs at once, p{percent}"
            print(f"{what:<52}{latencies[percent - 1]:>9.1f} ms{'-':>12}{'-':>8}  {target}")
    finally:
        if relay is not None:
            relay.end()
        valkey.stop()
        postgres.stop()
        shutil.rmtree(root, ignore_errors=True)


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


def warm_start(relay: Relay, repo: Path, repeat: int) -> Row:
    """Measure the time from the POST of a further step to the start of its process; bare: an exec in the container."""
    run = relay.submit(repo)
    relay.wait_chain(run)
    container = relay.container(run)
    ours, bare = [], []
    for _ in range(repeat):
        began = time.time_ns()
        body = {"run_reason": "setup_script", "script": STAMP}
        step = relay.http.post(f"/v1/workspaces/{run['workspace_id']}/executions", json=body).json()["id"]
        finished(relay, step)
        ours.append((int(relay.log(step, "stdout")) - began) / 1e6)
        began = time.time_ns()
        bare.append((int(container.exec_run(["sh", "-c", STAMP]).output) - began) / 1e6)
    what = "POST to process running, warm workspace, p50"
    return Row(what, statistics.median(ours), statistics.median(bare), "ms", "<= 1.5")


def new_workspace(relay: Relay, repo: Path, repeat: int) -> Row:
    """Measure the time from the POST of a run to its setup script's first line; bare: `git clone` and `docker run`."""
    ours, bare = [], []
    for number in range(repeat):
        began = time.time_ns()
        run = relay.submit(repo, setup_script=STAMP)
        setup = relay.wait_step(run, "setup_script", {"completed"})
        ours.append((int(relay.log(setup["id"], "stdout")) - began) / 1e6)
        relay.wait_chain(run)
        relay.http.delete(f"/v1/workspaces/{run['workspace_id']}")
        bare.append(timed(lambda: bare_job(relay, repo, str(number))))  # noqa: B023 - called at once
    what = "POST to first setup line, new workspace, p50"
    return Row(what, statistics.median(ours), statistics.median(bare), "ms", "<= 1.0")


def bare_job(relay: Relay, repo: Path, name: str) -> None:
    """Clone a repository and run a container with the plain commands."""
    subprocess.run(["git", "clone", "-q", f"file://{repo}", relay.root / f"bare-{name}"], check=True)
    subprocess.run(["docker", "run", "--rm", IMAGE, "true"], check=True)


def throughput(relay: Relay, repo: Path) -> Row:
    """Measure the rate at which log lines get from a process into Postgres; bare: `docker exec` into a file."""
    flood = f"base64 -w 100 /dev/zero | head -c {FLOOD_MIB << 20}"
    run = relay.submit(repo)
    relay.wait_chain(run)
    bare = timed(lambda: bare_flood(relay, relay.container(run).id, flood))
    body = {"run_reason": "setup_script", "script": flood}
    step = relay.http.post(f"/v1/workspaces/{run['workspace_id']}/executions", json=body).json()["id"]
    ours = timed(lambda: finished(relay, step))
    what = "durable log throughput, container to Postgres (MiB/s)"
    return Row(what, FLOOD_MIB * 1000 / ours, FLOOD_MIB * 1000 / bare, "", ">= 0.5")


def bare_flood(relay: Relay, container: str, flood: str) -> None:
    """Run the command `flood` with `docker exec` and write its output to a file."""
    with (relay.root / "flood").open("wb") as file:
        subprocess.run(["docker", "exec", container, "sh", "-c", flood], stdout=file, check=True)


def finished(relay: Relay, execution_id: str) -> None:
    """Wait until an execution has completed."""
    relay.until(lambda: relay.get(f"/v1/executions/{execution_id}")["status"] == "completed", 120)


def timed(act: Callable[[], object]) -> float:
    """Call `act` and return the duration in milliseconds."""
    began = time.perf_counter()
    act()
    return (time.perf_counter() - began) * 1000


if __name__ == "__main__":
    sys.exit(main())
