"""One process of the simulated fleet: some of the nodes, each act by the function of the store that a worker calls."""

import os
import queue
import random
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from multiprocessing.connection import Connection as Pipe
from multiprocessing.synchronize import Barrier

from bench.fleet.plan import HEARTBEAT_SECONDS, LEASE_SECONDS, POOL, RENEW_SECONDS, Plan, Sample, owner_of

from relay_core.domain import execution as machine
from relay_core.domain.agents.executors import ExecutorChoice
from relay_core.domain.limits import Limits
from relay_core.domain.message import QueueMessage
from relay_core.domain.vocabulary import Scope
from relay_core.settings import Settings
from relay_core.store.database import make_database
from relay_core.store.executions import leases, messages, reap
from relay_core.store.executions.claim import Claimant, Claimed, claim
from relay_core.store.executions.finish import finish
from relay_core.store.nodes import runtime_nodes
from relay_core.store.nodes.sweep_turns import take_turn
from relay_core.store.tokens import Principal
from relay_core.store.transaction import Database
from relay_core.store.workspaces.submit import RepoInput, RunInput, submit_run

TURN_SECONDS = 4.0


class Outbox:
    """Keeps the messages of committed transactions, which the same process then claims."""

    def __init__(self) -> None:
        self.messages: deque[QueueMessage] = deque()

    def dispatch(self, messages: Iterable[QueueMessage]) -> None:
        """Keep messages."""
        self.messages.extend(messages)

    def revoke(self, task_ids: Sequence[str]) -> None:
        """Do nothing: nothing is killed here."""


class FleetProcess:
    """The nodes of one process.

    Args:
        settings: with the URL of the database.
        plan: of the whole fleet.
        nodes: ids of the nodes that this process simulates.
    """

    def __init__(self, settings: Settings, plan: Plan, nodes: Sequence[str]) -> None:
        self._settings, self._plan, self._nodes = settings, plan, nodes
        self._outbox = Outbox()
        self._threads = max(3, plan.connections // plan.processes)
        engine = make_database(settings, application="fleet", connections=self._threads)
        self._database = Database(engine, self._outbox)
        self._samples: queue.SimpleQueue[Sample] = queue.SimpleQueue()
        self._due = threading.Event()
        self._began = 0.0

    def prepare(self) -> None:
        """Submit as many runs as will be claimed; each has two executions, a clone and an agent."""
        executions = self._plan.per_second * self._plan.seconds / self._plan.processes
        choice = ExecutorChoice("shell", "true")
        principal = Principal("fleet", frozenset({Scope.WRITE}))
        for _ in range(int(executions / 2) + 2):
            run = RunInput((RepoInput("https://example.org/a.git"),), "go", choice, Limits())
            with self._database.begin() as connection:
                submit_run(connection, run, principal, self._settings)

    def run(self) -> list[Sample]:
        """Do what the plan says until its time is over; return all acts."""
        self._began = time.monotonic()
        beating = self._threads - 2
        threads = [
            threading.Thread(target=self._beat, args=(self._nodes[number::beating],)) for number in range(beating)
        ]
        threads += [threading.Thread(target=self._execute), threading.Thread(target=self._sweep, daemon=True)]
        for thread in threads:
            thread.start()
        for thread in threads[:-1]:
            thread.join()
        samples = []
        while not self._samples.empty():
            samples.append(self._samples.get())
        return samples

    def _beat(self, nodes: Sequence[str]) -> None:
        """Renew the leases and send the heartbeats of some nodes, each at its own time."""
        acts: list[tuple[float, str, str]] = []
        for node_id in nodes:
            for kind, interval in (("renewal", RENEW_SECONDS), ("heartbeat", HEARTBEAT_SECONDS)):
                first = random.uniform(0, interval)
                count = int((self._plan.seconds - first) / interval) + 1
                acts += [(first + turn * interval, kind, node_id) for turn in range(max(0, count))]
        for at, kind, node_id in sorted(acts):
            act = self.renew if kind == "renewal" else self.heartbeat
            self._act(kind, at, partial(act, node_id))

    def heartbeat(self, node_id: str) -> None:
        """Send the heartbeat of a node."""
        with self._database.single_statements() as connection:
            runtime_nodes.heartbeat(connection, node_id, pool=POOL, client_version="fleet")

    def renew(self, node_id: str) -> None:
        """Renew the lease of a node's worker."""
        with self._database.single_statements() as connection:
            owner = owner_of(node_id)
            renewal = leases.renew_alone(connection, owner, node_id, LEASE_SECONDS, turn_seconds=TURN_SECONDS)
        if "sweeps" not in renewal.swept:
            self._due.set()

    def _execute(self) -> None:
        """Claim and end executions, one after the other, at the rate of this process."""
        interval = self._plan.processes / self._plan.per_second
        for turn in range(int(self._plan.seconds / interval)):
            at = turn * interval
            message = self.next_message()
            node_id = message.node_id or random.choice(self._nodes)
            claimed: list[Claimed] = []
            self._act("claim", at, partial(self.claim, message, node_id, claimed))
            if claimed:
                self._act("end", at, partial(self.end, claimed[0]))

    def next_message(self) -> QueueMessage:
        """Return the message of an execution that may start."""
        return self._outbox.messages.popleft()

    def claim(self, message: QueueMessage, node_id: str, claimed: list[Claimed]) -> None:
        """Claim an execution for the worker of a node, and append it to a list."""
        by = Claimant(owner_of(node_id), node_id, POOL, LEASE_SECONDS)
        with self._database.begin() as connection:
            answer = claim(connection, message.execution_id, message.attempt, by)
        if not isinstance(answer, Claimed):
            raise TypeError(f"not claimed: {answer.why}")
        claimed.append(answer)

    def end(self, claimed: Claimed) -> None:
        """End an execution."""
        with self._database.begin() as connection:
            finish(connection, claimed.execution_id, claimed.fence, machine.completed(0))

    def close(self) -> None:
        """Close the connections."""
        self._database.dispose()

    def _sweep(self) -> None:
        """Do the sweeps for all nodes, when a renewal says that they are due and this process gets the turn."""
        bounds = self._settings.presence
        while True:
            self._due.wait()
            self._due.clear()
            with self._database.begin() as connection:
                mine = take_turn(connection, "sweeps", TURN_SECONDS)
            if mine:
                with self._database.begin() as connection:
                    runtime_nodes.sweep(connection, bounds)
                with self._database.begin() as connection:
                    messages.undispatched(connection, 15.0)
                    reap.lost_nodes(connection, bounds)

    def _act(self, kind: str, at: float, act: Callable[[], None]) -> None:
        wait = self._began + at - time.monotonic()
        if wait > 0:
            time.sleep(wait)
        begun = time.monotonic()
        act()
        ended = time.monotonic()
        self._samples.put(Sample(kind, ended - self._began, ended - begun, max(0.0, -wait)))


def simulate(url: str, plan: Plan, nodes: Sequence[str], ready: Barrier, answer: Pipe) -> None:
    """Run one process of the fleet.

    Args:
        url: of the database.
        plan: of the whole fleet.
        nodes: ids of the nodes that this process simulates.
        ready: all processes and the measuring one wait here before the measurement begins.
        answer: gets the list of all acts.
    """
    os.nice(5)  # the database has the first right to the processors
    process = FleetProcess(Settings(database_url=url), plan, nodes)
    process.prepare()
    ready.wait()
    answer.send(process.run())
