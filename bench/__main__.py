"""Measure rows 1 to 7 of the performance table: ``python -m bench [--quick]``.

Beside most rows the same work is measured with bare tools (docker, git), in the same run. The bench starts its own API,
worker, durable Postgres and Valkey, and uses this machine's container engine. ``--quick`` measures each row for a few
seconds only, to see that all of them work; its figures are rough.
"""

import argparse
import statistics
import sys
from collections.abc import Callable, Iterator
from typing import NamedTuple

from bench.idle import idle_runs
from bench.live import live_latencies
from bench.rows import Row, new_workspace, throughput, warm_start
from bench.short import short_executions
from bench.stack import running
from tests.support.relay import make_repo

PROCESSOR_TARGETS = {"worker": 10, "api": 4, "postgres": 4}
"""Program -> milliseconds of processor time that it should spend on one short execution."""


class Sizes(NamedTuple):
    """How much is measured."""

    repeat: int
    """Measurements of rows 1 and 2."""
    runs: int
    """Runs at once in row 4."""
    seconds: float
    """Time of each loop of rows 5 and 6."""
    idle: int
    """Idle runs on real containers in row 7."""
    idle_on_fake: int
    """Idle runs on the fake container engine in row 7."""
    idle_seconds: float
    """Time of each measurement in row 7."""


FULL, QUICK = Sizes(10, 100, 20, 200, 1000, 60), Sizes(3, 10, 4, 10, 50, 10)


def main() -> None:
    """Measure and print the table, each row as soon as it is known."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="measure each row for a few seconds only")
    parser.add_argument("--rows", default="1234567", help="numbers of the rows to measure, such as 15")
    options = parser.parse_args()
    sizes = QUICK if options.quick else FULL
    print(f"{'what':<62}{'Relay':>12}{'bare':>12}{'ratio':>8}  to reach", flush=True)
    for numbers, measure in (("1234", first_rows), ("56", short_rows), ("7", idle_rows)):
        if set(numbers) & set(options.rows):
            for row in measure(sizes, options.rows):
                print(shown(row), flush=True)


def first_rows(sizes: Sizes, wanted: str) -> Iterator[Row]:
    """Measure rows 1 to 4."""
    with running("bench") as relay:
        repo = make_repo(relay.root / "repo", {f"f{number}.txt": "x" * 100 for number in range(200)})
        rows: dict[str, Callable[[], list[Row]]] = {
            "1": lambda: [warm_start(relay, repo, sizes.repeat)],
            "2": lambda: [new_workspace(relay, repo, sizes.repeat)],
            "3": lambda: throughput(relay, repo),
            "4": lambda: latency_rows(live_latencies(relay, repo, sizes.runs), sizes.runs),
        }
        for number, measure in rows.items():
            if number in wanted:
                yield from measure()


def latency_rows(latencies: list[float], runs: int) -> list[Row]:
    """Return the rows about the times of log lines, in milliseconds."""
    cuts = statistics.quantiles(latencies, n=100)
    what = f"log line to SSE client, {runs} runs at once"
    return [Row(f"{what}, p50", cuts[49], None, "ms", "<= 20"), Row(f"{what}, p99", cuts[98], None, "ms", "<= 50")]


def short_rows(sizes: Sizes, _: str) -> Iterator[Row]:
    """Measure rows 5 and 6."""
    with running("short") as relay:
        ours, bare = short_executions(relay, 16, sizes.seconds)
    yield Row("short executions per second, 16 workspaces", ours.per_second, bare.per_second, "", ">= 1")
    for name, target in PROCESSOR_TARGETS.items():
        yield Row(f"processor time of one short execution, {name}", ours.processor[name], None, "ms", f"<= {target}")
    engine = ours.processor["engine"], bare.processor["engine"]
    yield Row("processor time of one short execution, engine", *engine, "ms", "")


def idle_rows(sizes: Sizes, _: str) -> Iterator[Row]:
    """Measure row 7, on the fake container engine and on real containers."""
    for count, fake in ((sizes.idle_on_fake, True), (sizes.idle, False)):
        idle = idle_runs(count, sizes.idle_seconds, fake=fake)
        runs = f"{count} idle runs, {'fake' if fake else 'real'} containers"
        for name, load in (("no run", idle.without), (runs, idle.with_runs)):
            yield Row(f"memory of a worker, {name} (MB)", load.memory_mb, None, "", "< 200")
            yield Row(f"processor time of it, {name} (% of a core)", load.core_percent, None, "", "< 10")


def shown(row: Row) -> str:
    """Return the line of the table for a row."""
    bare, ratio = ("-", "-") if row.bare is None else (f"{row.bare:.1f} {row.unit:<2}", f"{row.relay / row.bare:.2f}")
    return f"{row.what:<62}{row.relay:>9.1f} {row.unit:<2}{bare:>12}{ratio:>8}  {row.target}"


if __name__ == "__main__":
    sys.exit(main())
