"""A node on fakes: real Postgres, runner, capture and files; a fake engine, git, forwarder and no Redis.

Its workers are objects of one process. Each has its own live executions and pump, and shares engine, disk and rows.
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import select, text

from relay_core.domain.agents.executors import ExecutorChoice
from relay_core.domain.chain import Action, RepoScripts, script_step
from relay_core.domain.limits import Limits
from relay_core.domain.vocabulary import FINAL, RunReason, Scope
from relay_core.secret_box import SecretBox
from relay_core.settings import Settings
from relay_core.store.database import make_database
from relay_core.store.executions import create
from relay_core.store.executions.adopt import adopt
from relay_core.store.executions.claim import Claimant, Claimed
from relay_core.store.executions.kill import request_kill
from relay_core.store.logs.log_store import LogStore
from relay_core.store.nodes import runtime_nodes
from relay_core.store.schema.tables import Event, ExecutionProcess
from relay_core.store.tokens import Principal
from relay_core.store.transaction import Database
from relay_core.store.workspaces.submit import RepoInput, RunInput, submit_run
from relay_workers.capture.pump import LogPump
from relay_workers.celery.intake import Intake
from relay_workers.containers.port import container_name
from relay_workers.containers.retry_while_silent import RetryWhileSilent
from relay_workers.containers.tool import ToolResult, ToolRun
from relay_workers.execution.assembly import make_runner
from relay_workers.execution.context import WorkerContext
from relay_workers.execution.runner import Runner
from relay_workers.maintenance.clocks import make_leftovers
from relay_workers.metrics import Metrics
from relay_workers.ownership.admission import Admission, capacity_of
from relay_workers.ownership.leases import Leases
from relay_workers.ownership.live_executions import ExecutionControl, LiveExecutions, OwnershipLost
from relay_workers.testing.fake_containers import FakeContainers, make_image
from relay_workers.testing.fake_forwarder import FakeForwarder
from relay_workers.testing.fake_git import FakeGit
from relay_workers.testing.fake_step import FakeStep
from relay_workers.testing.scripted_step import ScriptedStep
from tests.support.published import Published


@pytest.fixture(scope="module")
def module_database_url(new_database: Callable[[], AbstractContextManager[str]]) -> Iterator[str]:
    """A migrated database for all cases of a module."""
    with new_database() as url:
        yield url


ME = Principal("someone", frozenset({Scope.WRITE}))
LEASE_SECONDS = 0.05
"""So short that the grace after a restart of Postgres is over; a worker asks Postgres before each irreversible act."""


class LiveLog:
    """Takes the place of Redis; tells a test that an end was committed."""

    def __init__(self, ended: Callable[[UUID], None]) -> None:
        self.end = ended

    def publish(self, stored: Any) -> None:
        """Drop what is published."""

    def close(self) -> None:
        """Nothing is open."""


class NoTool:
    """Answers the probe of an image's programs, the only tool that is run here: none is missing."""

    def run(self, spec: ToolRun, cancelled: Any = None) -> ToolResult:
        return ToolResult(0, b"", b"")


@dataclass
class FakeWorker:
    """A worker of the node."""

    context: WorkerContext
    runner: Runner

    def run(self, execution_id: UUID, attempt: int = 1) -> None:
        """Carry out or adopt an execution, if it is to be had."""
        try:
            self.runner.run(execution_id, attempt)
        except OwnershipLost:
            return

    def control(self, execution_id: UUID) -> ExecutionControl | None:
        live = self.context.live.all()
        return next((control for control in live if control.execution_id == execution_id), None)


@dataclass
class FakeNode:
    """A node; tests make one for a module and a workspace for each case."""

    settings: Settings
    database: Database
    containers: FakeContainers
    git: FakeGit
    url: str
    workers: list[FakeWorker] = field(default_factory=list)
    spare: UUID | None = None
    """A workspace that the next case can use."""
    broken: list[str] = field(default_factory=list)
    """Promises that were found broken in the moment of a commit."""

    @classmethod
    def make(cls, database_url: str, root: Path, *, images: tuple[str, ...] = ()) -> "FakeNode":
        settings = Settings(
            database_url=database_url,
            data_dir=root / "data",
            git_allow_file=True,
            default_image="base",
            engine_patience_seconds=0,
            dev_server_start_seconds=5,
            log_tail_seconds=0,
            node_max_workspaces=10**6,
            node_memory_bytes=1 << 60,
            node_pids=10**9,
            node_min_free_bytes=0,
        )
        settings.data_dir.mkdir()
        node = cls(
            settings,
            Database(make_database(settings, application="fakes"), Published()),
            FakeContainers({name: make_image(name) for name in ("base", *images)}),
            FakeGit(settings.data_dir, settings.remote_policy),
            f"file://{root}/remote",
        )
        node.git.add_remote(node.url, "main", {"README": b"hello\n"})
        with node.database.begin() as connection:
            runtime_nodes.register(connection, "node", settings.pool, capacity_of(settings))
            runtime_nodes.heartbeat(connection, "node", pool=settings.pool, client_version="0", capabilities={})
        return node

    def add_worker(self, name: str) -> FakeWorker:
        settings, database, live = self.settings, self.database, LiveExecutions()
        claimant = Claimant(f"{name}@node#1", "node", settings.pool, LEASE_SECONDS)
        logs = LogStore(database)
        live_log = LiveLog(self._check_end)
        context = WorkerContext(
            settings=settings,
            claimant=claimant,
            database=database,
            leases=Leases(database, database, claimant, live),
            dispatcher=database.publisher,
            containers=self.containers,
            retry_while_silent=RetryWhileSilent(),
            tool=NoTool(),
            git=self.git,
            pump=LogPump(logs, live_log),
            logs=logs,
            live_logs=live_log,
            forwarder=FakeForwarder(self.containers),
            live=live,
            admission=Admission(settings, Intake({})),
            metrics=Metrics(),
            secrets=SecretBox.of(settings),
        )
        context.pump.start()
        self.workers.append(FakeWorker(context, make_runner(context)))
        return self.workers[-1]

    def close(self) -> None:
        for worker in self.workers:
            worker.context.live.let_all_go()
            worker.context.pump.stop()
        self.database.dispose()

    # work

    @contextmanager
    def workspace(self) -> Iterator[UUID]:
        """A prepared workspace with nothing in its lane; it is used again unless the test fails."""
        workspace_id = self.spare or self._idle_workspace()
        self.spare = None
        yield workspace_id
        self.spare = workspace_id

    def _idle_workspace(self) -> UUID:
        workspace_id = self.submit(ScriptedStep())
        self.workers[0].run(self.newest(workspace_id, RunReason.CODING_AGENT)["id"])
        return workspace_id

    def container(self, workspace_id: UUID) -> str:
        return container_name(str(workspace_id))

    def submit(self, script: ScriptedStep, **of_repo: Any) -> UUID:
        """A run of the shell executor with a prepared workspace; its workspace's id."""
        executor = ExecutorChoice("shell", script.script())
        repo = RepoInput(self.url, **of_repo)
        run = RunInput((repo,), "do it", executor, Limits(kill_grace_seconds=0))
        with self.database.begin() as connection:
            workspace_id = submit_run(connection, run, ME, self.settings).workspace_id
        self.workers[0].run(self.newest(workspace_id, RunReason.CLONE)["id"])
        return workspace_id

    def add(
        self,
        workspace_id: UUID,
        script: ScriptedStep,
        *,
        reason: RunReason = RunReason.SETUP_SCRIPT,
        as_root: bool = False,
    ) -> UUID:
        """One more step of the workspace; its id."""
        step = script_step(reason, RepoScripts("remote"), script.script(), as_root=as_root)
        session_id = self.newest(workspace_id, RunReason.CLONE)["session_id"]
        group = create.NewGroup(session_id, workspace_id, [Action(step)], "someone", None)
        with self.database.begin() as connection:
            return create.create_group(connection, group)[0]

    def newest(self, workspace_id: UUID, reason: RunReason) -> dict[str, Any]:
        statement = (
            select(ExecutionProcess)
            .where(ExecutionProcess.workspace_id == workspace_id, ExecutionProcess.run_reason == reason)
            .order_by(ExecutionProcess.created_at)
        )
        with self.database.connect() as connection:
            return dict(connection.execute(statement).mappings().all()[-1])

    def row(self, execution_id: UUID) -> dict[str, Any]:
        with self.database.connect() as connection:
            row = connection.execute(select(ExecutionProcess).where(ExecutionProcess.id == execution_id))
            return dict(row.mappings().one())

    def events(self, execution_id: UUID) -> list[tuple[str, bool]]:
        """The kinds of an execution's events in order, and whether each is terminal."""
        columns = (Event.kind, Event.terminal)
        statement = select(*columns).where(Event.operation_id == execution_id).order_by(Event.sequence)
        with self.database.connect() as connection:
            return [(row.kind, row.terminal) for row in connection.execute(statement)]

    def kinds(self, workspace_id: UUID) -> list[str]:
        """The kinds of all events of a workspace."""
        statement = select(Event.kind).where(Event.workspace_id == workspace_id)
        with self.database.connect() as connection:
            return list(connection.scalars(statement))

    def log(self, execution_id: UUID) -> bytes:
        logs = LogStore(self.database)
        return b"".join(piece.data for piece in logs.iter_pieces(execution_id, "stdout"))

    def step(self, execution_id: UUID) -> FakeStep | None:
        """The fake step of an execution, as far as the engine has it."""
        row = self.row(execution_id)
        gid = (row["handle"] or {}).get("gid")
        return None if gid is None else self.containers.step_of(container_name(str(row["workspace_id"])), gid)

    def starts(self, execution_id: UUID) -> int:
        """The number of times that the process of an execution began."""
        row = self.row(execution_id)
        gid = (row["handle"] or {}).get("gid")
        return 0 if gid is None else self.containers.started(container_name(str(row["workspace_id"])), gid)

    # what happens to it

    def kill(self, execution_id: UUID) -> None:
        """As a client asks and the renewal of the lease tells."""
        with self.database.begin() as connection:
            request_kill(connection, execution_id, "someone")
        for worker in self.workers:
            if (control := worker.control(execution_id)) is not None:
                control.ask_kill()

    def take_away(self, execution_id: UUID, *, told: bool = True) -> None:
        """Another worker takes the execution over, and dies; ``told``: the renewal of the lease says so at once."""
        thief = Claimant("thief@node#1", "node", self.settings.pool, LEASE_SECONDS)
        with self.database.begin() as connection:
            taken = adopt(connection, execution_id, 1, thief, lambda _: True)
        if not isinstance(taken, Claimed):
            assert self.row(execution_id)["status"] not in {"queued", "running"}, taken  # it ended before
            return
        for worker in self.workers:
            if told and (control := worker.control(execution_id)) is not None:
                control.let_go()

    def expire(self, execution_id: UUID) -> None:
        """End the lease of the present owner."""
        with self.database.begin() as connection:
            connection.execute(
                text(
                    "UPDATE incarnations SET lease_until = now() - interval '1 hour' "
                    "WHERE owner = (SELECT owner FROM execution_processes WHERE id = :id)"
                ),
                {"id": execution_id},
            )

    def sweep(self) -> None:
        """End what executions have left, as the worker's clock does."""
        make_leftovers(self.workers[0].context).sweep()

    def begin(self, execution_id: UUID, worker: int = 0) -> threading.Thread:
        thread = threading.Thread(target=self.workers[worker].run, args=(execution_id,), daemon=True)
        thread.start()
        return thread

    # what must hold

    def _check_end(self, execution_id: UUID) -> None:
        """Right after the commit of a final status: no process may live that `leftover_on` does not tell of."""
        row = self.row(execution_id)
        alive = self.alive(execution_id)
        if alive and row["leftover_on"] is None:
            self.broken.append(f"{row['status']} beside {[process.name for process in alive]}")

    def alive(self, execution_id: UUID) -> list[Any]:
        """Live processes of an execution, its supervisor included."""
        step = self.step(execution_id)
        return [] if step is None else [*step.processes, *([step] if step.running else [])]


@pytest.fixture(scope="module")
def fake_node(module_database_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[FakeNode]:
    """A node with two workers for all cases of a module."""
    made = FakeNode.make(module_database_url, tmp_path_factory.mktemp("node"))
    for name in ("w1", "w2"):
        made.add_worker(name)
    yield made
    made.close()


def final(row: dict[str, Any]) -> bool:
    return row["status"] in FINAL
