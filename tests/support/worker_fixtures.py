"""A worker without Celery in this process: its context, runner and clocks, on real servers and the real engine."""

import base64
import os
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import UUID

import docker
import pytest
from sqlalchemy import select

from relay_core.domain.agents.executors import ExecutorChoice
from relay_core.domain.chain import Action, RepoScripts, script_step
from relay_core.domain.limits import Limits
from relay_core.domain.vocabulary import FINAL, RunReason, Scope
from relay_core.queue.celery_app import make_app
from relay_core.queue.dispatcher import CeleryDispatcher
from relay_core.settings import Settings
from relay_core.store.database import make_database
from relay_core.store.executions import create
from relay_core.store.executions.kill import request_kill
from relay_core.store.nodes import runtime_nodes
from relay_core.store.schema.tables import Event, ExecutionProcess, Workspace
from relay_core.store.tokens import Principal
from relay_core.store.transaction import Database
from relay_core.store.workspaces.submit import RepoInput, RunInput, submit_run
from relay_workers.bootstrap import make_context
from relay_workers.containers.port import container_name
from relay_workers.execution.assembly import make_runner
from relay_workers.execution.context import WorkerContext
from relay_workers.execution.runner import Runner
from relay_workers.maintenance.ticker import Ticker
from relay_workers.ownership.admission import capacity_of
from relay_workers.ownership.node_identity import identify
from tests.support.engine_line import EngineLine
from tests.support.machine import NETWORK, remove_containers
from tests.support.waiting import eventually

WAIT_SECONDS = 60
ME = Principal("someone", frozenset({Scope.WRITE}))


@dataclass
class Node:
    """A node with one worker, and clients of its database."""

    context: WorkerContext
    runner: Runner
    line: EngineLine
    repo: Path
    threads: list[threading.Thread] = field(default_factory=list)

    @property
    def db(self) -> Database:
        return self.context.database

    def submit(
        self, *, command: str = "true", limits: Limits | None = None, uid: int | None = None, **of_repo: Any
    ) -> UUID:
        """A run of the shell executor; its workspace's id."""
        repo = RepoInput(f"file://{self.repo}", **of_repo)
        executor = ExecutorChoice("shell", command)
        run = RunInput((repo,), "do it", executor, limits or Limits(kill_grace_seconds=0.5), user=uid)
        with self.db.begin() as connection:
            return submit_run(connection, run, ME, self.context.settings).workspace_id

    def step(self, workspace_id: UUID, reason: RunReason) -> dict[str, Any]:
        """The newest execution of a kind."""
        with self.db.connect() as connection:
            rows = connection.execute(
                select(ExecutionProcess)
                .where(ExecutionProcess.workspace_id == workspace_id, ExecutionProcess.run_reason == reason)
                .order_by(ExecutionProcess.created_at)
            ).mappings()
            return dict(list(rows)[-1])

    def reasons(self, workspace_id: UUID) -> list[str]:
        """What was made of the run, in order."""
        statement = select(ExecutionProcess.run_reason).where(ExecutionProcess.workspace_id == workspace_id)
        with self.db.connect() as connection:
            return list(connection.scalars(statement.order_by(ExecutionProcess.created_at)))

    def workspace(self, workspace_id: UUID) -> dict[str, Any]:
        with self.db.connect() as connection:
            row = connection.execute(select(Workspace).where(Workspace.id == workspace_id)).mappings().one()
        return dict(row)

    def kinds(self, workspace_id: UUID) -> list[str]:
        statement = select(Event.kind).where(Event.workspace_id == workspace_id).order_by(Event.workspace_seq)
        with self.db.connect() as connection:
            return list(connection.scalars(statement))

    def begin(self, execution_id: UUID) -> threading.Thread:
        """Carry it out in a thread of its own, if it is to be had."""
        thread = threading.Thread(target=self._run, args=(execution_id,), daemon=True)
        self.threads.append(thread)
        thread.start()
        return thread

    def _run(self, execution_id: UUID) -> None:
        with suppress(Exception):  # how it ended is for Celery
            self.runner.run(execution_id, 1)

    def run(self, execution_id: UUID) -> dict[str, Any]:
        """Carry it out to its end."""
        self.begin(execution_id).join(WAIT_SECONDS)
        return self.row(execution_id)

    def row(self, execution_id: UUID) -> dict[str, Any]:
        with self.db.connect() as connection:
            row = connection.execute(select(ExecutionProcess).where(ExecutionProcess.id == execution_id))
            return dict(row.mappings().one())

    def chain(self, workspace_id: UUID, until: RunReason) -> dict[str, Any]:
        """Run the steps before the first one of a kind; that one, still queued."""
        while (due := self.due(workspace_id))["run_reason"] != until:
            ended = self.run(due["id"])
            assert ended["status"] == "completed", ended
        return due

    def due(self, workspace_id: UUID) -> dict[str, Any]:
        with self.db.connect() as connection:
            rows = connection.execute(
                select(ExecutionProcess)
                .where(ExecutionProcess.workspace_id == workspace_id, ExecutionProcess.status == "queued")
                .order_by(ExecutionProcess.created_at)
            ).mappings()
            return dict(rows.first() or {"run_reason": None, "id": None})

    def add(self, workspace_id: UUID, script: str, *, as_root: bool = False, reason: str = "setup_script") -> UUID:
        """A further step at the end of the lane."""
        step = script_step(RunReason(reason), RepoScripts(self.repo.name), script, as_root=as_root)
        session_id = self.step(workspace_id, RunReason.CLONE)["session_id"]
        group = create.NewGroup(session_id, workspace_id, [Action(step)], "someone", None)
        with self.db.begin() as connection:
            return create.create_group(connection, group)[0]

    def kill(self, execution_id: UUID) -> None:
        """As the API does, without its message: the lease's renewal tells of it."""
        with self.db.begin() as connection:
            request_kill(connection, execution_id, "someone")

    def wait_status(self, execution_id: UUID, *statuses: str) -> dict[str, Any]:
        return self.until(lambda: (row := self.row(execution_id))["status"] in statuses and row, f"{statuses}")

    def wait_final(self, execution_id: UUID) -> dict[str, Any]:
        return self.wait_status(execution_id, *FINAL)

    def until(self, look: Callable[[], Any], what: str) -> Any:
        return eventually(look, seconds=WAIT_SECONDS, what=what)

    def processes(self, workspace_id: UUID) -> str:
        """Command lines in the container."""
        with closing(docker.from_env()) as client:
            listing = client.api.top(container_name(str(workspace_id)), "-eo pid,gid,stat,args")["Processes"]
        return "\n".join(" ".join(row) for row in listing if not row[2].startswith("Z"))

    @contextmanager
    def frozen(self, workspace_id: UUID) -> Iterator[None]:
        """Nothing in the workspace's container runs, its first process included."""
        with closing(docker.from_env()) as client:
            client.api.pause(container_name(str(workspace_id)))
            try:
                yield
            finally:
                client.api.unpause(container_name(str(workspace_id)))

    def log(self, execution_id: UUID, stream: str = "stdout") -> bytes:
        logs = self.context.logs
        return logs.read(execution_id, stream, 0, logs.sizes(execution_id)[stream].bytes)


@pytest.fixture(scope="session")
def tiny_repo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("repos") / "tiny"
    path.mkdir()
    words = ["git", "-c", "user.name=t", "-c", "user.email=t@example.org"]
    for more in (["init", "-q", "-b", "main"], ["commit", "-q", "--allow-empty", "-m", "first"]):
        subprocess.run([*words, *more], cwd=path, check=True)
    return path


@pytest.fixture
def node(database_url: str, redis_url: str, tiny_repo: Path) -> Iterator[Node]:
    """With an engine's patience of 2 s."""
    root = Path(tempfile.mkdtemp(prefix="relay-w-"))
    root.chmod(0o755)
    line = EngineLine(root / "engine.sock")
    settings = Settings(
        database_url=database_url,
        redis_url=redis_url,
        data_dir=root / "data",
        docker_host=line.host,
        git_allow_file=True,
        engine_patience_seconds=2,
        dev_server_start_seconds=20,
        container_network=NETWORK,
        node_max_workspaces=1000,
        node_memory_bytes=1 << 50,
        secret_keys=(base64.b64encode(os.urandom(32)).decode(),),
    )
    made = _node(settings, line, tiny_repo)
    clock = Ticker("leases", 0.2, made.context.leases.renew)
    clock.start()
    made.context.pump.start()
    yield made
    line.mend()
    made.context.live.let_all_go()
    for thread in made.threads:
        thread.join(10)
    clock.stop()
    made.context.pump.stop()
    made.db.dispose()
    _remove(made)
    line.close()
    shutil.rmtree(root, ignore_errors=True)


def _node(settings: Settings, line: EngineLine, repo: Path) -> Node:
    settings.data_dir.mkdir()
    identity = identify(settings)
    engine = make_database(settings, application=identity.owner)
    dispatcher = CeleryDispatcher(make_app(settings, identity.node_id), engine)
    database = Database(engine, dispatcher)
    context = make_context(settings, identity, database, dispatcher)
    with database.begin() as connection:
        runtime_nodes.register(connection, identity.node_id, settings.pool, capacity_of(settings))
        runtime_nodes.heartbeat(connection, identity.node_id, pool=settings.pool, client_version="0", capabilities={})
    return Node(context, make_runner(context), line, repo)


def _remove(made: Node) -> None:
    with closing(docker.from_env()) as client:
        remove_containers(client, f"relay.node_id={made.context.claimant.node_id}")
        with suppress(docker.errors.APIError):  # other fixtures of this process still use the network
            client.api.remove_network(NETWORK)
