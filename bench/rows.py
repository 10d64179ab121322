"""Rows 1 to 3 of the performance table, each with the same work done by bare tools."""

import statistics
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import psutil
from bench.stack import IMAGE
from tests.support.relay import Relay

STAMP = "date +%s%N"
"""Shell command that prints the nanoseconds since the epoch."""
FLOOD_MIB = 256
"""Size of the output that the throughput measurement writes."""


class Row(NamedTuple):
    """One row of the table: a figure measured with Relay and the same figure measured with bare tools.

    Attributes:
        what: what is measured.
        relay: the figure of Relay.
        bare: the figure of the bare tools; None if there is none to compare with.
        unit: unit of both figures; empty if `what` contains it.
        target: bound that the ratio `relay` / `bare` should meet, or `relay` if there is no `bare`.
    """

    what: str
    relay: float
    bare: float | None
    unit: str
    target: str


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
    return Row(what, statistics.median(ours), statistics.median(bare), "ms", "<= 0.4")


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


def throughput(relay: Relay, repo: Path) -> list[Row]:
    """Measure the rate at which log lines get from a process into Postgres; bare: `docker exec` into a file.

    A second row says by how much the worker's memory has grown when the last byte is stored.
    """
    flood = f"base64 -w 100 /dev/zero | head -c {FLOOD_MIB << 20}"
    run = relay.submit(repo)
    relay.wait_chain(run)
    bare = timed(lambda: bare_flood(relay, relay.container(run).id, flood))
    worker = psutil.Process(relay.processes["worker"].pid)
    before = worker.memory_info().rss
    body = {"run_reason": "setup_script", "script": flood}
    step = relay.http.post(f"/v1/workspaces/{run['workspace_id']}/executions", json=body).json()["id"]
    ours = timed(lambda: finished(relay, step))
    grown = (worker.memory_info().rss - before) / (1 << 20)
    what = "durable log throughput, container to Postgres (MiB/s)"
    return [
        Row(what, FLOOD_MIB * 1000 / ours, FLOOD_MIB * 1000 / bare, "", ">= 1.5"),
        Row("growth of the worker's memory by that (MiB)", grown, None, "", "<= 64"),
    ]


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
