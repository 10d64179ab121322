"""Measure what a fleet of workers costs Postgres: ``python -m bench.fleet [--nodes N] [--seconds S]``.

Each simulated node has one worker with live executions. The workers renew their leases, the nodes send heartbeats, and
executions are claimed and ended, all by the functions of the store that a real worker calls, against an embedded
Postgres whose data would survive a power cut. It is measured twice: without other work, and while another session
holds a snapshot open, so that Postgres can remove no dead row.

Not measured: what one connection or more for each worker cost, as all workers share a few here, and the periodic looks
of other clocks of a worker (adoption, admission, requests, leftovers, divergence), which read and write nothing while
there is nothing to do.
"""

import argparse
import multiprocessing
import shutil
import sys
import tempfile
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

import psutil
from bench.fleet.acts import describe, measure_acts
from bench.fleet.plan import Plan, Sample, node_ids
from bench.fleet.report import Measured, print_report
from bench.fleet.setup import fill
from bench.fleet.worker import simulate
from tests.support.published import Published

from relay_core.settings import Settings
from relay_core.store.database import make_database, probe, server_time
from relay_core.store.schema.migrate import upgrade
from relay_core.store.table_statistics import TableStatistics, table_statistics
from relay_core.store.transaction import Database
from relay_stack.services.postgres import EmbeddedPostgres

KEEP_ALIVE_SECONDS = 10.0
"""Interval of queries in the transaction that holds the snapshot; Postgres ends transactions that are idle for 30 s."""
STATISTICS_SECONDS = 2.0


def main() -> None:
    """Fill a database, measure it twice, and print the figures."""
    parser = argparse.ArgumentParser(prog="python -m bench.fleet", description=__doc__)
    parser.add_argument("--nodes", type=int, default=10_000, help="simulated nodes, each with one worker")
    parser.add_argument("--executions", type=int, default=10, help="live executions of each worker")
    parser.add_argument("--per-second", type=float, default=12, help="executions claimed and ended per second")
    parser.add_argument("--connections", type=int, default=32, help="connections of the fleet to Postgres")
    parser.add_argument("--processes", type=int, default=4, help="processes that simulate the fleet")
    parser.add_argument("--seconds", type=float, help="longest that each of the two measurements takes")
    parser.add_argument("--free", type=float, default=120, help="seconds without a snapshot; 0: leave this out")
    parser.add_argument("--held", type=float, default=600, help="seconds with a snapshot held open; 0: leave this out")
    options = parser.parse_args()
    if options.seconds is not None:
        options.free, options.held = (min(length, options.seconds) for length in (options.free, options.held))
    root = Path(tempfile.mkdtemp(prefix="relay-fleet-"))
    root.chmod(0o755)
    postgres = EmbeddedPostgres(root / "postgres")
    try:
        url = postgres.start()
        upgrade(url)
        for held, seconds in ((False, options.free), (True, options.held)):
            plan = Plan(
                options.nodes,
                options.executions,
                options.per_second,
                options.processes,
                options.connections,
                seconds,
            )
            if not held:
                print(f"writing {plan.nodes} nodes with {plan.executions} executions each", file=sys.stderr)
                fill(url, plan)
                costs = measure_acts(url, plan, lambda: _processor_seconds().get("connections", 0.0))
                print("\n".join(describe(costs, plan)), flush=True)
            if seconds > 0:
                print_report(_measure(url, plan, held=held))
    finally:
        postgres.stop()
        shutil.rmtree(root, ignore_errors=True)


def _measure(url: str, plan: Plan, *, held: bool) -> Measured:
    context = multiprocessing.get_context("spawn")
    ready = context.Barrier(plan.processes + 1)
    ids = node_ids(plan.nodes)
    processes, answers = [], []
    for number in range(plan.processes):
        answer, ask = context.Pipe(duplex=False)
        arguments = (url, plan, ids[number :: plan.processes], ready, ask)
        processes.append(context.Process(target=simulate, args=arguments, daemon=True))
        processes[-1].start()
        ask.close()
        answers.append(answer)
    database = Database(make_database(Settings(database_url=url), connections=2), Published())
    samples: list[Sample] = []
    with _snapshot(database) if held else nullcontext():
        ready.wait()
        before, used = _statistics(database), _processor_seconds()
        for answer in answers:
            samples += answer.recv()
        used = {kind: seconds - used.get(kind, 0.0) for kind, seconds in _processor_seconds().items()}
        threading.Event().wait(STATISTICS_SECONDS)  # until Postgres has counted the last writes
        after = _statistics(database)
    for process in processes:
        process.join()
    database.dispose()
    return Measured(plan, held, samples, before, after, used)


def _statistics(database: Database) -> dict[str, TableStatistics]:
    with database.connect() as connection:
        return table_statistics(connection)


@contextmanager
def _snapshot(database: Database) -> Iterator[None]:
    """Hold a snapshot open within the block, as a dump of the database or a long report does."""
    over = threading.Event()
    with database.engine.connect().execution_options(isolation_level="REPEATABLE READ") as connection:
        server_time(connection)

        def keep() -> None:
            while not over.wait(KEEP_ALIVE_SECONDS):
                probe(connection)

        keeping = threading.Thread(target=keep)
        keeping.start()
        try:
            yield
        finally:
            over.set()
            keeping.join()


def _processor_seconds() -> dict[str, float]:
    """Return the processor time of Postgres so far by kind of process; that of ended ones counts as the server's."""
    (server,) = [process for process in psutil.Process().children() if process.name() == "postgres"]
    own = server.cpu_times()
    seconds = Counter({"server": own.user + own.system + own.children_user + own.children_system})
    for process in server.children(recursive=True):
        title = " ".join(process.cmdline())
        kind = "connections" if "[local]" in title else title.removeprefix("postgres: ").rstrip(" 0123456789")
        times = process.cpu_times()
        seconds[kind] += times.user + times.system
    return dict(seconds)


if __name__ == "__main__":
    main()
