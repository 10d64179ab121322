"""Measure memory and processor time of a worker with many idle runs: ``python -m bench.idle [--runs N]``."""

import argparse
import sys
import time
from pathlib import Path
from typing import NamedTuple

import psutil
from bench.stack import running
from tests.support.relay import Relay, make_repo

MEASURED_SECONDS = 60.0
SMALL = {"memory_bytes": 32 << 20, "pids": 64}


class Idle(NamedTuple):
    """Memory and processor time of a worker with idle runs."""

    memory_mb: float
    memory_before_mb: float
    core_percent: float


def main() -> None:
    """Start the runs, measure the worker, print the figures, and stop everything."""
    parser = argparse.ArgumentParser(prog="python -m bench.idle", description=__doc__)
    parser.add_argument("--runs", type=int, default=500)
    count = parser.parse_args().runs
    idle = idle_runs(count, MEASURED_SECONDS)
    before = f"({idle.memory_before_mb:.0f} MB before)"
    print(f"{count} idle runs on one worker: {idle.memory_mb:.0f} MB RSS {before}, {idle.core_percent:.1f}% of a core")
    print("to reach: < 200 MB, < 10 %")


def idle_runs(count: int, seconds: float) -> Idle:
    """Start runs that do nothing and measure their worker for some time."""
    with running("idle", {"RELAY_WORKER_CONCURRENCY": str(count + 10)}) as relay:
        worker = psutil.Process(relay.processes["worker"].pid)
        before = worker.memory_info().rss
        began = time.monotonic()
        _start(relay, make_repo(relay.root / "repo", {"README.md": "# sample\n"}), count)
        print(f"{count} runs run after {time.monotonic() - began:.0f} s", file=sys.stderr)
        times = worker.cpu_times()
        time.sleep(seconds)
        later = worker.cpu_times()
        used = later.user + later.system - times.user - times.system
        return Idle(worker.memory_info().rss / 1e6, before / 1e6, used / seconds * 100)


def _start(relay: Relay, repo: Path, count: int) -> None:
    for _ in range(count):
        relay.submit(repo, "exec sleep 100000", limits=SMALL)

    def started() -> bool:
        with relay.database.connect() as connection:
            asked = "SELECT count(*) FROM execution_processes WHERE run_reason = 'coding_agent' AND status = 'running'"
            return connection.exec_driver_sql(asked).scalar() == count

    relay.until(started, 1800, "all runs")
    time.sleep(10)  # let the worker finish its work after the starts


if __name__ == "__main__":
    main()
