"""Turns the samples and counters of a measurement into the printed table."""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from bench.fleet.plan import Plan, Sample

from relay_core.store.table_statistics import TableStatistics

WINDOW_SECONDS = 60.0
"""Length of the first and of the last part that are compared; half of the measurement, if that is shorter."""
SMALL = 0.001
"""Processor seconds per second below which a kind of process is not named."""
TABLES = ("incarnations", "runtime_nodes", "execution_processes")
KINDS = ("renewal", "heartbeat", "claim", "end")


@dataclass(frozen=True)
class Measured:
    """The result of one measurement.

    Attributes:
        plan: what the fleet had to do.
        held: whether a snapshot was held open.
        samples: all acts of the fleet.
        before: counters of the tables at the beginning.
        after: counters of the tables at the end.
        processor_seconds: processor time of Postgres by kind of process.
    """

    plan: Plan
    held: bool
    samples: Sequence[Sample]
    before: Mapping[str, TableStatistics]
    after: Mapping[str, TableStatistics]
    processor_seconds: Mapping[str, float]


def print_report(measured: Measured) -> None:
    """Print the figures of a measurement."""
    for line in report(measured):
        print(line, flush=True)


def report(measured: Measured) -> list[str]:
    """Return the figures of a measurement as lines for people."""
    plan = measured.plan
    seconds = max((sample.at for sample in measured.samples), default=plan.seconds)
    length = f"{plan.seconds:.0f} s with {'a snapshot held open' if measured.held else 'no snapshot'}"
    used = measured.processor_seconds
    most = sorted(used.items(), key=lambda one: -one[1])
    window = min(WINDOW_SECONDS, plan.seconds / 2)
    lines = [
        "",
        f"{plan.nodes} nodes, {plan.executions} executions each, {plan.connections} connections, {length}",
        f"  Postgres: {sum(used.values()) / seconds:.2f} processor seconds per second (to hold: <= 1)",
        "    of which "
        + ", ".join(f"{kind} {share / seconds:.3f}" for kind, share in most if share >= SMALL * seconds),
    ]
    for kind in KINDS:
        acts = [sample for sample in measured.samples if sample.kind == kind]
        first = p99([act.took for act in acts if act.at <= window])
        last = p99([act.took for act in acts if act.at > seconds - window])
        late = max((act.late for act in acts), default=0.0)
        lines.append(
            f"  {kind + 's:':<12}{len(acts) / seconds:>8.1f}/s  p99 first {window:.0f} s {first * 1000:>7.1f} ms, "
            f"last {last * 1000:>7.1f} ms ({last / first if first else 0:.2f} x); begun at most {late:.2f} s late"
        )
    for table in TABLES:
        before, after = measured.before[table], measured.after[table]
        updates, in_page = after.updated - before.updated, after.updated_in_page - before.updated_in_page
        share = in_page / updates if updates else 0.0
        lines.append(
            f"  {table + ':':<22}{updates / seconds:>8.1f} row updates/s ({share:.0%} in page), "
            f"{after.dead} dead rows, {after.bytes / 1e6:.1f} MB"
        )
    return lines


def p99(values: Sequence[float]) -> float:
    """Return the 99th percentile; of fewer than two values the largest, of none 0."""
    return statistics.quantiles(values, n=100)[98] if len(values) > 1 else max(values, default=0.0)
