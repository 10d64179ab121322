"""Measure submissions a second: ``python -m bench.submissions [--processes N] [--seconds N]``.

Processes submit runs of one repository without a project, which share a project and a repository row, and then runs of
one repository for each process. They call the store function of ``POST /v1/runs`` on an embedded Postgres with data
on a disk; no message is sent. The rows in which the runs of one repository are slower wait for each other.
"""

import argparse
import shutil
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

from tests.support.published import Published

from relay_core.domain.agents.executors import ExecutorChoice
from relay_core.domain.limits import Limits
from relay_core.domain.vocabulary import Scope
from relay_core.settings import Settings
from relay_core.store.database import make_database
from relay_core.store.nodes import runtime_nodes
from relay_core.store.schema.migrate import upgrade
from relay_core.store.tokens import Principal
from relay_core.store.transaction import Database
from relay_core.store.workspaces.submit import RepoInput, RunInput, submit_run
from relay_stack.services.postgres import EmbeddedPostgres

ANN = Principal("ann", frozenset({Scope.WRITE}))
SHARED = "https://git.example.org/team/app.git"


def main() -> None:
    """Measure both kinds of submissions in turns and print their rates."""
    parser = argparse.ArgumentParser(prog="python -m bench.submissions", description=__doc__)
    parser.add_argument("--processes", type=int, default=8, help="processes that submit at once")
    parser.add_argument("--seconds", type=float, default=5, help="length of each measurement")
    parser.add_argument("--rounds", type=int, default=3, help="measurements of each kind")
    options = parser.parse_args()
    root = Path(tempfile.mkdtemp(prefix="relay-bench-"))
    root.chmod(0o755)
    postgres = EmbeddedPostgres(root / "postgres")
    postgres.start()
    try:
        upgrade(postgres.url)
        database = _database(postgres.url)
        with database.begin() as connection:
            runtime_nodes.heartbeat(connection, "node", pool="default", client_version="0", capabilities={})
        database.dispose()
        own = [f"https://git.example.org/team/app-{number}.git" for number in range(options.processes)]
        rates: dict[str, list[float]] = {"one repository": [], "one for each process": []}
        with ProcessPoolExecutor(options.processes, mp_context=get_context("spawn")) as pool:
            _rate(pool, postgres.url, own, 0)  # until all processes have imported Relay
            for _ in range(options.rounds):
                shared = [SHARED] * options.processes
                rates["one repository"].append(_rate(pool, postgres.url, shared, options.seconds))
                rates["one for each process"].append(_rate(pool, postgres.url, own, options.seconds))
    finally:
        postgres.stop()
        shutil.rmtree(root)
    for name, found in rates.items():
        print(f"{name}: {', '.join(f'{rate:.0f}' for rate in found)} submissions/s")
    first, second = (sorted(found)[len(found) // 2] for found in rates.values())
    print(f"ratio of the medians: {first / second:.2f}")


def _database(url: str) -> Database:
    return Database(make_database(Settings(database_url=url)), Published())


def _rate(pool: ProcessPoolExecutor, url: str, urls: Sequence[str], seconds: float) -> float:
    begins = time.time() + 2  # no process gets two of the calls: the first ones wait until then
    counts = list(pool.map(_submit, *zip(*((url, one, begins, seconds) for one in urls), strict=True)))
    return sum(counts) / max(seconds, 1)


def _submit(database_url: str, repo: str, begins: float, seconds: float) -> int:
    database = _database(database_url)
    run = RunInput((RepoInput(repo),), "do it", ExecutorChoice("shell", "true"), Limits())

    def submit() -> None:
        with database.begin() as connection:
            submit_run(connection, run, ANN, Settings())

    submit()
    time.sleep(max(0.0, begins - time.time()))
    count, ends = 0, time.monotonic() + seconds
    while time.monotonic() < ends:
        submit()
        count += 1
    database.dispose()
    return count


if __name__ == "__main__":
    main()
