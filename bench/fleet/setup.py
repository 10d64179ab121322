"""The rows of a fleet that is at work already: its nodes, and their live executions."""

from collections.abc import Sequence
from datetime import UTC, datetime
from uuid import uuid4

from bench.fleet.plan import LEASE_SECONDS, POOL, Plan, node_ids, owner_of
from sqlalchemy import insert, select
from tests.support.published import Published

from relay_core.domain.agents.executors import ExecutorChoice
from relay_core.domain.limits import Limits
from relay_core.domain.message import task_id
from relay_core.domain.nodes import Capacity
from relay_core.domain.vocabulary import RunReason, Scope, Status
from relay_core.settings import Settings
from relay_core.store.database import make_database, server_time
from relay_core.store.executions import leases
from relay_core.store.nodes import runtime_nodes
from relay_core.store.schema.tables import ExecutionProcess
from relay_core.store.table_statistics import analyze
from relay_core.store.tokens import Principal
from relay_core.store.transaction import Connection, Database
from relay_core.store.workspaces.submit import RepoInput, RunInput, submit_run

AT_ONCE = 500
"""Nodes whose rows one transaction writes."""


def fill(url: str, plan: Plan) -> None:
    """Write the nodes, their leases and their executions; the latter as rows, which claims would take an hour to write.

    All executions are dev servers of one workspace, as these need no lane.
    """
    settings = Settings(database_url=url)
    database = Database(make_database(settings, connections=1), Published())
    capacity = Capacity(max_workspaces=1000, memory_bytes=1 << 50, pids=1 << 40)
    with database.begin() as connection:
        run = RunInput((RepoInput("https://example.org/a.git"),), "go", ExecutorChoice("shell", "true"), Limits())
        made = submit_run(connection, run, Principal("fleet", frozenset({Scope.WRITE})), settings)
        template = connection.execute(
            select(ExecutionProcess.session_id, ExecutionProcess.workspace_id, ExecutionProcess.executor_action).where(
                ExecutionProcess.id == made.execution_id
            )
        ).one()
    ids = node_ids(plan.nodes)
    for begin in range(0, len(ids), AT_ONCE):
        some = ids[begin : begin + AT_ONCE]
        with database.begin() as connection:
            for node_id in some:
                runtime_nodes.register(connection, node_id, POOL, capacity)
                leases.renew(connection, owner_of(node_id), node_id, LEASE_SECONDS)
            _write_executions(connection, some, plan.executions, template._asdict())
    with database.begin() as connection:
        analyze(connection)
    database.dispose()


def _write_executions(connection: Connection, nodes: Sequence[str], count: int, same: dict[str, object]) -> None:
    now = datetime.fromtimestamp(server_time(connection), UTC)
    rows = []
    for node_id in nodes:
        for _ in range(count):
            execution_id = uuid4()
            rows.append(
                {
                    **same,
                    "id": execution_id,
                    "task_id": task_id(execution_id, 1),
                    "run_reason": RunReason.DEV_SERVER,
                    "status": Status.RUNNING,
                    "created_by": "fleet",
                    "started_at": now,
                    "owner": owner_of(node_id),
                    "node_id": node_id,
                    "fence": 1,
                }
            )
    connection.execute(insert(ExecutionProcess), rows)
