"""Measure what a new workspace gains from its container being made during the checkout: ``python -m bench.checkout``.

The bench starts its own API, durable Postgres and Valkey, and one worker that makes the container either while git
checks the repository out, as every worker does, or before that. Runs of both kinds take turns, so both meet the same
load of the machine. Two times are measured: that of the run's `clone` step, and that from the POST of the run to the
first line of its setup script.
"""

import argparse
import os
import statistics
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

from bench.rows import STAMP
from bench.stack import running, start_bench_worker
from tests.support.relay import Relay, make_repo

from relay_workers import service
from relay_workers.execution import clone

IN_TURN = "RELAY_BENCH_IN_TURN"
"""Variable of the worker: path of a file. While the file exists, the container is made before the checkout."""
REPOSITORIES = {"200 files, 20 kB": (200, 100), "2000 files, 40 MB": (2000, 20_000)}
"""Name of a repository in the table → number of its files, and bytes of each."""


class Times(NamedTuple):
    """Times of one run in milliseconds."""

    clone: float
    first_line: float


class AtOnce:
    """An executor without a thread: it makes each call where it is submitted."""

    def submit(self, function: Callable[..., Any], *arguments: Any) -> "Future[Any]":
        """Make the call and return its result, or its error, as a future."""
        made: Future[Any] = Future()
        try:
            made.set_result(function(*arguments))
        except Exception as error:  # noqa: BLE001 - the future raises it, as that of a thread does
            made.set_exception(error)
        return made

    def shutdown(self, *, wait: bool = True) -> None:
        """Do nothing: there is no thread."""


def pool(*given: Any, **named: Any) -> ThreadPoolExecutor | AtOnce:
    """Return what the worker's preparation of a workspace makes the container with."""
    return AtOnce() if Path(os.environ[IN_TURN]).exists() else ThreadPoolExecutor(*given, **named)


def work() -> None:
    """Run a worker, in its own process, that heeds the file `IN_TURN`."""
    clone.ThreadPoolExecutor = pool  # type: ignore[misc, assignment]
    service.main()


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(prog="python -m bench.checkout", description=__doc__)
    parser.add_argument("--repeat", type=int, default=5, help="runs of each kind for each repository")
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        work()
        return
    with running("bench", worker=False) as relay:
        relay.environment[IN_TURN] = str(relay.root / "in-turn")
        start_bench_worker(relay, "bench.checkout")
        print(f"{'p50 in ms':<36}{'before':>9}{'during':>9}{'ratio':>7}")
        for name, (files, size) in REPOSITORIES.items():
            content = {f"d{number % 50}/f{number}": os.urandom(size) for number in range(files)}
            compare(relay, name, make_repo(relay.root / f"repo-{files}", content), options.repeat)


def compare(relay: Relay, name: str, repo: Path, repeat: int) -> None:
    """Measure runs of both kinds in turns and print the medians, without the first run, which fills the mirror."""
    switch = Path(relay.environment[IN_TURN])
    found: dict[bool, list[Times]] = {True: [], False: []}
    measure(relay, repo)
    for _ in range(repeat):
        for in_turn, times in found.items():
            switch.touch() if in_turn else switch.unlink(missing_ok=True)
            times.append(measure(relay, repo))
    for field in Times._fields:
        before, during = (statistics.median(getattr(one, field) for one in found[kind]) for kind in (True, False))
        print(f"{name + ', ' + field:<36}{before:>9.0f}{during:>9.0f}{during / before:>7.2f}", flush=True)


def measure(relay: Relay, repo: Path) -> Times:
    """Measure one run, and delete its workspace."""
    began = time.time_ns()
    run = relay.submit(repo, setup_script=STAMP)
    setup = relay.wait_step(run, "setup_script", {"completed"})
    first_line = (int(relay.log(setup["id"], "stdout")) - began) / 1e6
    relay.until(lambda: relay.get(f"/v1/runs/{run['run_id']}")["status"] == "completed", what="the end of the run")
    step = next(one for one in relay.executions(run) if one["run_reason"] == "clone")
    started, completed = (datetime.fromisoformat(step[name]) for name in ("started_at", "completed_at"))
    relay.http.delete(f"/v1/workspaces/{run['workspace_id']}")
    return Times((completed - started).total_seconds() * 1000, first_line)


if __name__ == "__main__":
    main()
