"""The main loop of the bench: submit runs, make parts fail, compare each run with its expected outcome."""

import sys
import time
from collections.abc import Sequence
from random import Random

from bench.chaos.client import Client
from bench.chaos.evidence import evidence
from bench.chaos.faults import FAULTS, Context
from bench.chaos.load import KINDS, Job
from bench.chaos.look import left_running, look_at
from bench.chaos.report import Report
from bench.chaos.world import World
from sqlalchemy import text

LOOK_SECONDS = 0.4
"""Pause in seconds between two looks at all active runs; a look is a request for each of them."""
SETTLE_SECONDS = 240.0
"""Longest wait after the last fault until all runs have ended."""


class Chaos:
    """Submits runs, makes parts fail meanwhile, and collects the results in `report`.

    Args:
        world: the parts that fail.
        seed: seed of all random choices. A bench is still not repeatable exactly: response times depend on the machine.
        at_once: number of runs that are active at any time.
        quiet_seconds: how long, at most, nothing is restarted after half of the faults. The runs that were active at
            such a fault, and as many later ones, must end within that time; then the next fault follows.
        kinds: the kinds of faults, by their names in `FAULTS`.
    """

    def __init__(
        self,
        world: World,
        seed: int,
        at_once: int = 4,
        quiet_seconds: float = 120.0,
        kinds: Sequence[str] = tuple(FAULTS),
    ) -> None:
        self._world = world
        self._faults = kinds
        self._random = Random(seed)
        self._at_once = at_once
        self._quiet_seconds = quiet_seconds
        self._client = Client(world)
        self._jobs: list[Job] = []
        self._kinds: list[type[Job]] = []
        self._context = Context(world, self._random, [])
        self.report = Report()

    def run(self, count: int) -> Report:
        """Cause ``count`` faults, each kind equally often, wait for all runs to end, and return the report."""
        for number, (name, quiet) in enumerate(self._plan(count), 1):
            self._go_on(self._random.uniform(0.5, 3.0))  # so that faults occur at random moments of a run
            before = [job for job in self._jobs if not job.done]
            self._must_live()
            FAULTS[name](self._context)
            self.report.faults[name] += 1
            print(f"{number:>4}/{count} {name}{', then quiet' if quiet else ''}", file=sys.stderr, flush=True)
            if quiet:
                self.report.quiet += 1
                self._be_quiet(name, before)
        self._settle()
        return self.report

    def _plan(self, count: int) -> list[tuple[str, bool]]:
        rounds = -(-count // len(self._faults))
        names = [name for _ in range(rounds) for name in self._random.sample(self._faults, len(self._faults))][:count]
        quiet = [number % 2 == 0 for number in range(count)]
        self._random.shuffle(quiet)
        return list(zip(names, quiet, strict=True))

    def _go_on(self, seconds: float, *, submit: bool = True) -> None:
        """Advance all runs for some seconds; with ``submit``, also replace ended runs by new ones."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            self._advance(submit=submit)
            time.sleep(LOOK_SECONDS)  # poll, as a client of the API does

    def _advance(self, *, submit: bool) -> None:
        live = [job for job in self._jobs if not job.done]
        for _ in range(self._at_once - len(live) if submit else 0):
            job = self._next_kind()(self._world, self._client, self._random)
            self._jobs.append(job)
            live.append(job)
        for job in live:
            job.advance()
            if job.done:
                self._finish(job)

    def _next_kind(self) -> type[Job]:
        if not self._kinds:
            self._kinds = self._random.sample(KINDS, len(KINDS))
        return self._kinds.pop()

    def _finish(self, job: Job) -> None:
        """Compare an ended run with its expected outcome, then delete its workspace to save disk space."""
        look_at(self._world, job, self.report)
        job.looked_at = True
        self._world.api.http.delete(f"/v1/workspaces/{job.workspace_id}").raise_for_status()

    def _be_quiet(self, name: str, before: list[Job]) -> None:
        """Restart nothing until the runs in ``before`` (active at the fault) and as many later ones have ended.

        A later run shows that parts which survived the fault still take new work, without the help of a restart.
        """
        first_later = len(self._jobs)
        until = time.monotonic() + self._quiet_seconds
        late: list[Job] = []
        while time.monotonic() < until:
            self._go_on(0.5)
            later = self._jobs[first_later : first_later + self._at_once]
            late = [job for job in [*before, *later] if not job.done]
            if not late and len(later) == self._at_once:
                break
        self._must_live()
        for job in late:
            self.report.stuck += 1
            self.report.problems.append(
                f"{job.kind} {job.workspace_id}: no end {self._quiet_seconds:.0f} s after: {name}\n"
                f"{evidence(self._world, job.workspace_id)}"
            )

    def _must_live(self) -> None:
        """Report each process that exited although the bench did not stop it, and start it again."""
        for node in self._world.nodes:
            for part, process in list(node.processes.items()):
                if (code := process.poll()) is not None:
                    self.report.problems.append(f"{part} ended by itself with {code}: {node.log_of(part)[-1500:]}")
                    node.start(part)

    def _settle(self) -> None:
        self._must_live()
        until = time.monotonic() + SETTLE_SECONDS
        while time.monotonic() < until and not all(job.done for job in self._jobs):
            self._go_on(1.0, submit=False)
        for job in self._jobs:
            if not job.looked_at and job.workspace_id:
                look_at(self._world, job, self.report)
        unsent = sum(not job.workspace_id for job in self._jobs)
        if unsent:
            self.report.problems.append(f"{unsent} runs were never accepted")
        left_running(self._world, self.report)
        self.report.recoveries = self._recoveries()

    def _recoveries(self) -> list[float]:
        """Return the recovery times: seconds from a worker's death until another worker took over an execution.

        There is one time for each execution that was running at the death and was taken over (event
        `execution.adopted`).
        """
        asked = (
            "SELECT min(extract(epoch FROM created_at)) FROM events "
            "WHERE operation_id = :id AND kind = 'execution.adopted' AND extract(epoch FROM created_at) > :at"
        )
        found = []
        with self._world.api.database.connect() as connection:
            for death in self._context.deaths:
                for execution_id in death.executions:
                    adopted = connection.scalar(text(asked), {"id": execution_id, "at": death.at})
                    if adopted is not None:
                        found.append(float(adopted) - death.at)
        return found
