"""Measure memory and processor time of a worker with many idle runs: ``python -m bench.idle [--runs N]``."""

import argparse
import shutil
import sys
import tempfile
import time
from pathlib import Path

import psutil
from bench.__main__ import environment
from tests.support.relay import Relay, make_repo

from relay_core.store.schema.migrate import upgrade
from relay_stack.services.postgres import EmbeddedPostgres
from relay_stack.services.valkey import EmbeddedValkey

MEASURED_SECONDS = 60.0
SMALL = {"memory_bytes": 32 << 20, "pids": 64}


def main() -> None:
    """Start the runs, measure the worker, print the figures, and stop everything."""
    parser = argparse.ArgumentParser(prog="python -m bench.idle", description=__doc__)
    parser.add_argument("--runs", type=int, default=500)
    count = parser.parse_args().runs
    root = Path(tempfile.mkdtemp(prefix="relay-idle-"))
    root.chmod(0o755)
    postgres, valkey = EmbeddedPostgres(root / "postgres"), EmbeddedValkey(root / "valkey")
    relay = None
    try:
        database_url = postgres.start()
        upgrade(database_url)
        relay = Relay(environment(root, database_url, valkey.start()), root)
        relay.environment["RELAY_WORKER_CONCURRENCY"] = str(count + 10)
        relay.start("api")
        relay.start("worker")
        before = psutil.Process(relay.processes["worker"].pid).memory_info().rss
        began = time.monotonic()
        _start(relay, make_repo(root / "repo", {"README.md": "# sample\n"}), count)
        print(f"{count} runs run after {time.monotonic() - began:.0f} s", file=sys.stderr)
        rss, cpu = _measure(relay)
        print(f"{count} idle runs on one worker: {rss >> 20} MiB RSS ({before >> 20} MiB before), {cpu:.1%} of a core")
        print("to reach: < 200 MB, < 10 %")
    finally:
        if relay is not None:
            relay.end()
        valkey.stop()
        postgres.stop()
        shutil.rmtree(root, ignore_errors=True)


def _start(relay: Relay, repo: Path, count: int) -> None:
    for _ in range(count):
        relay.submit(repo, "exec sleep 100000", limits=SMALL)

    def running() -> bool:
        with relay.database.connect() as connection:
            asked = "SELECT count(*) FROM execution_processes WHERE run_reason = 'coding_agent' AND status = 'running'"
            return connection.exec_driver_sql(asked).scalar() == count

    relay.until(running, 1800, "all runs")
    time.sleep(10)  # let the worker finish its work after the starts


def _measure(relay: Relay) -> tuple[int, float]:
    worker = psutil.Process(relay.processes["worker"].pid)
    times = worker.cpu_times()
    time.sleep(MEASURED_SECONDS)
    later = worker.cpu_times()
    used = later.user + later.system - times.user - times.system
    return worker.memory_info().rss, used / MEASURED_SECONDS


if __name__ == "__main__":
    main()
