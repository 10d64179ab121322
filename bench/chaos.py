"""``python -m bench.chaos [--kills N] [--runs N] [--seed N]``: random kills under load, and what became of the runs.

While runs write numbered lines, one part after another is killed at random moments: worker, API, Valkey, Postgres
(kill -9 each), or the worker is stopped past its lease and goes on (SIGSTOP, SIGCONT), or Valkey forgets everything
(FLUSHALL), or messages are doubled. Afterwards every log is compared byte for byte with what its process wrote, and
events, statuses, processes and files are counted.
"""

import argparse
import os
import random
import shutil
import signal
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import redis
from sqlalchemy import text
from tests.acceptance.conftest import FINAL, make_repo
from tests.faults.conftest import LEASE_SECONDS, CrashingPostgres, Stack, fault_relay, lines, numbered

from relay_cli.stack.valkey import EmbeddedValkey
from relay_core.celery_app import declare, make_app
from relay_core.domain.doorbell import Ring, task_name
from relay_core.domain.vocabulary import RunReason
from relay_core.postgres.migrate import upgrade
from relay_core.settings import Settings

LINES, PAUSE = 3000, 0.004
"""A run of some fifteen seconds: long enough to meet several faults."""
SETTLE_SECONDS = 180.0


@dataclass
class Report:
    """What a chaos run came to; everything but `recoveries` should be 0."""

    runs: int = 0
    kills: Counter[str] = field(default_factory=Counter)
    bytes_lost: int = 0
    bytes_doubled: int = 0
    double_runs: int = 0
    stuck: int = 0
    otherwise: list[str] = field(default_factory=list)
    """Anything else that is wrong."""
    recoveries: list[float] = field(default_factory=list)
    """Seconds from a worker's death to the adoption of each run it had."""

    @property
    def clean(self) -> bool:
        """Whether every promise was kept."""
        return not (self.bytes_lost or self.bytes_doubled or self.double_runs or self.stuck or self.otherwise)

    def __str__(self) -> str:
        faults = ", ".join(f"{name} {count}" for name, count in sorted(self.kills.items()))
        told = [
            f"faults: {sum(self.kills.values())} ({faults}); runs: {self.runs}",
            f"log bytes lost {self.bytes_lost}, doubled {self.bytes_doubled}",
            f"double runs {self.double_runs}; stuck rows {self.stuck}",
        ]
        if len(self.recoveries) > 1:
            cuts = statistics.quantiles(self.recoveries, n=100)
            told.append(
                f"adoption after a death: p50 {cuts[49]:.1f} s, p99 {cuts[98]:.1f} s, of {len(self.recoveries)}"
            )
        return "\n".join(told + self.otherwise)


class Chaos:
    """A load of runs and the faults that meet it."""

    def __init__(self, stack: Stack, seed: int) -> None:
        self._stack = stack
        self._random = random.Random(seed)
        self._app = make_app(Settings(redis_url=stack.valkey.url))
        self._runs: list[dict[str, Any]] = []
        self._deaths: list[float] = []
        self.report = Report()
        self._faults: dict[str, Callable[[], None]] = {
            "worker killed": self._kill_worker,
            "worker stopped": self._stop_worker,
            "API killed": self._kill_api,
            "Valkey killed": self._kill_valkey,
            "Valkey flushed": self._flush,
            "Postgres killed": self._kill_postgres,
            "messages doubled": self._double,
        }

    def run(self, kills: int, at_once: int) -> Report:
        """Keep ``at_once`` runs going until ``kills`` faults have happened, then let all end and look."""
        weights = [6, 1, 1, 2, 1, 2, 1]
        for _ in range(kills):
            self._fill(at_once)
            time.sleep(self._random.uniform(0.2, 3.0))  # the moment is the fault's own
            name = self._random.choices(list(self._faults), weights)[0]
            self._faults[name]()
            self.report.kills[name] += 1
            print(f"{sum(self.report.kills.values()):>4}/{kills} {name}", file=sys.stderr, flush=True)
        self._settle()
        return self._look()

    # the load

    def _fill(self, at_once: int) -> None:
        live = sum(not self._done(run) for run in self._runs[-2 * at_once :])
        for _ in range(at_once - live):
            command = f"echo ran >>/workspace/home/ran; {numbered(LINES, PAUSE)}"
            count = "wc -l </workspace/home/ran"
            self._runs.append(self._stack.relay.submit(self._stack.repo, command, cleanup_script=count))

    def _done(self, run: dict[str, Any]) -> bool:
        return bool(self._stack.relay.get(f"/v1/tasks/{run['task_id']}")["status"] == "inreview")

    def _settle(self) -> None:
        deadline = time.monotonic() + SETTLE_SECONDS
        while time.monotonic() < deadline and not all(self._done(run) for run in self._runs):
            time.sleep(0.5)  # the API is all a client has

    # the faults

    def _kill_worker(self) -> None:
        relay = self._stack.relay
        relay.kill_9("worker")
        self._deaths.append(time.time())
        relay.start("worker")

    def _stop_worker(self) -> None:
        pid = self._stack.relay.processes["worker"].pid
        os.kill(pid, signal.SIGSTOP)
        self._stack.relay.start("worker-2")
        time.sleep(LEASE_SECONDS + self._random.uniform(0, 4))
        os.kill(pid, signal.SIGCONT)
        self._stack.relay.kill_9("worker-2")
        self._deaths.append(time.time())

    def _kill_api(self) -> None:
        self._stack.relay.kill_9("api")
        self._stack.relay.start("api")

    def _kill_valkey(self) -> None:
        self._stack.valkey.stop()
        time.sleep(self._random.uniform(0, 3))
        self._stack.valkey.start()

    def _flush(self) -> None:
        with redis.Redis.from_url(self._stack.valkey.url) as client:
            client.flushall()

    def _kill_postgres(self) -> None:
        self._stack.postgres.crash()
        time.sleep(self._random.uniform(0, 3))
        self._stack.postgres.start()
        self._stack.relay.until(self._api_reads, 30, "the API after Postgres' restart")

    def _api_reads(self) -> bool:
        return bool(self._stack.relay.http.get("/v1/executions").status_code == 200)

    def _double(self) -> None:
        with self._stack.relay.database.connect() as connection:
            rows = connection.execute(
                text(
                    "SELECT id, attempt, run_reason, node_id FROM execution_processes "
                    "WHERE status = 'running' AND node_id IS NOT NULL"
                )
            ).all()
        for row in rows:
            ring = Ring(row.id, row.attempt, RunReason(row.run_reason), "default", row.node_id)
            for _ in range(5):
                self._app.send_task(
                    task_name(ring.run_reason),
                    args=(str(ring.execution_id), ring.attempt),
                    task_id=ring.task_id,
                    queue=declare(ring.queue),
                )

    # the look

    def _look(self) -> Report:
        report = self.report
        report.runs = len(self._runs)
        for run in self._runs:
            self._look_at(run)
        report.recoveries = self._recoveries()
        return report

    def _look_at(self, run: dict[str, Any]) -> None:
        steps = [self._stack.relay.get(f"/v1/executions/{one['id']}") for one in self._stack.relay.executions(run)]
        self.report.stuck += sum(step["status"] not in FINAL for step in steps)
        agents = [step for step in steps if step["run_reason"] == "coding_agent"]
        if [step["status"] for step in steps] != ["completed"] * 3:
            ends = [(step["run_reason"], step["status"], step["reason"], step["error_reason"]) for step in steps]
            self.report.otherwise.append(f"{run['workspace_id']}: {ends}")
        for step in agents:
            missing = self._compare(step["id"], lines(LINES))
            if missing:
                self.report.otherwise.append(f"{step['id']}: {missing}")
        if len(steps) == 3 and self._stack.relay.log(steps[2]["id"], "stdout").strip() not in (b"1", b""):
            self.report.double_runs += 1
        for step in steps:
            try:
                self._stack.must_be_whole(step["id"])
            except AssertionError as error:
                self.report.otherwise.append(f"{step['id']}: {str(error)[:200]}")

    def _compare(self, execution_id: str, written: bytes) -> str:
        stored = self._stack.relay.log(execution_id, "stdout")
        if stored == written:
            return ""
        want, have = Counter(written.splitlines()), Counter(stored.splitlines())
        lost, more = want - have, have - want
        self.report.bytes_lost += sum(len(line) + 1 for line in lost.elements())
        self.report.bytes_doubled += sum(len(line) + 1 for line in more.elements())
        return f"{lost.total()} lines lost, {more.total()} too many"

    def _recoveries(self) -> list[float]:
        with self._stack.relay.database.connect() as connection:
            rows = connection.execute(
                text("SELECT extract(epoch FROM created_at) FROM events WHERE kind = 'execution.adopted'")
            ).scalars()
            adopted = sorted(float(at) for at in rows)
        return [at - max(death for death in self._deaths if death <= at) for at in adopted if self._deaths[0] <= at]


def main() -> int:
    """Run it and say what became of it; the exit code is 1 when a promise was broken."""
    parser = argparse.ArgumentParser(prog="python -m bench.chaos", description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--runs", type=int, default=6, help="at once")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    root = Path(tempfile.mkdtemp(prefix="relay-chaos-"))
    root.chmod(0o755)
    postgres, valkey = CrashingPostgres(root / "postgres"), EmbeddedValkey(root / "valkey")
    began = time.monotonic()
    try:
        upgrade(postgres.start())
        valkey.start()
        relay = fault_relay(root, postgres, valkey)
        try:
            relay.start("api")
            relay.start("worker")
            repo = make_repo(root / "repo", {"README.md": "# sample\n"})
            report = Chaos(Stack(relay, postgres, valkey, repo), options.seed).run(options.kills, options.runs)
        finally:
            relay.end()
    finally:
        valkey.stop()
        postgres.stop()
        shutil.rmtree(root, ignore_errors=True)
    print(f"\n{report}\n{time.monotonic() - began:.0f} s, seed {options.seed}")
    return 0 if report.clean else 1


if __name__ == "__main__":
    sys.exit(main())
