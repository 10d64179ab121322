"""Measure memory and processor time of a worker with many idle runs: ``python -m bench.idle [--runs N | --fake N]``.

``--runs`` starts the runs on real containers. ``--fake`` starts them on the fake container engine of the tests, within
the worker (`bench.fake_worker`), so that there can be a thousand. Both measure the same worker without a run first.
"""

import argparse
import sys
import time
from typing import NamedTuple

import psutil
from bench.fake_worker import REMOTE
from bench.stack import running, start_bench_worker
from tests.support.relay import Relay, make_repo

from relay_workers.testing.scripted_step import ScriptedStep

SMALL = {"memory_bytes": 32 << 20, "pids": 64}
MOST_SLOTS = 1000
"""The largest `RELAY_WORKER_CONCURRENCY`, and so the largest number of runs."""
COUNTED = """
SELECT count(*) FILTER (WHERE run_reason = 'coding_agent' AND status = 'running'),
    count(*) FILTER (WHERE status IN ('failed', 'killed'))
FROM execution_processes
"""
"""Statement that returns the number of agents that run, and of executions that ended badly."""
SETTLE_SECONDS = 10.0
"""Time that the worker gets to finish its work after its start, and after that of the runs."""


class Load(NamedTuple):
    """Memory of a worker, and processor time of it and of the processes that it starts."""

    memory_mb: float
    core_percent: float

    def __str__(self) -> str:
        return f"{self.memory_mb:.0f} MB RSS, {self.core_percent:.1f} % of a core"


class Idle(NamedTuple):
    """The load of a worker without runs, and with idle runs."""

    without: Load
    with_runs: Load


def main() -> None:
    """Start the runs, measure the worker, print the figures, and stop everything."""
    parser = argparse.ArgumentParser(prog="python -m bench.idle", description=__doc__)
    kinds = parser.add_mutually_exclusive_group()
    kinds.add_argument("--runs", type=int, default=200, help="idle runs on real containers")
    kinds.add_argument("--fake", type=int, default=0, help="idle runs on the fake container engine")
    parser.add_argument("--seconds", type=float, default=60.0, help="duration of each of the two measurements")
    options = parser.parse_args()
    count, engine = (options.fake, "fake") if options.fake else (options.runs, "real")
    idle = idle_runs(count, options.seconds, fake=bool(options.fake))
    print(f"no run: {idle.without}")
    print(f"{count} idle runs on one worker, {engine} containers: {idle.with_runs}")
    print("to reach: < 200 MB, < 10 %")


def idle_runs(count: int, seconds: float, *, fake: bool) -> Idle:
    """Measure a worker for some time without runs, and then with runs that do nothing.

    Args:
        count: the number of runs.
        seconds: the duration of each measurement.
        fake: whether the runs are on the fake container engine.
    """
    slots = min(count + 10, MOST_SLOTS)
    with running("idle", {"RELAY_WORKER_CONCURRENCY": str(slots)}, worker=not fake) as relay:
        if fake:
            start_bench_worker(relay, "bench.fake_worker")
            url, command = REMOTE, ScriptedStep(exit_code=None).script()
        else:
            url = f"file://{make_repo(relay.root / 'repo', {'README.md': '# sample'})}"
            command = "exec sleep 100000"
        worker = psutil.Process(relay.processes["worker"].pid)
        without = load_of(worker, seconds)
        began = time.monotonic()
        start_runs(relay, url, command, count)
        print(f"{count} runs run after {time.monotonic() - began:.0f} s", file=sys.stderr)
        return Idle(without, load_of(worker, seconds))


def load_of(worker: psutil.Process, seconds: float) -> Load:
    """Measure a process for some time, after `SETTLE_SECONDS`, with the processes that it starts, such as `du`."""
    time.sleep(SETTLE_SECONDS)
    before = sum(worker.cpu_times()[:4])  # user and system, its own and that of ended children
    time.sleep(seconds)
    used = sum(worker.cpu_times()[:4]) - before
    return Load(worker.memory_info().rss / 1e6, used / seconds * 100)


def start_runs(relay: Relay, url: str, command: str, count: int) -> None:
    """Submit the runs, and return when the agent of each runs."""
    for _ in range(count):
        relay.submit(url, command, limits=SMALL)

    def started() -> bool:
        with relay.database.connect() as connection:
            running_now, ended = connection.exec_driver_sql(COUNTED).one()
        if ended:
            sys.exit(f"{ended} executions failed:\n{relay.log_of('worker')[-4000:]}")
        return bool(running_now == count)

    relay.until(started, 1800, "all runs")


if __name__ == "__main__":
    main()
