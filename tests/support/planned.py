"""The steps that are planned behind an execution, as they are stored."""

from typing import Any
from uuid import UUID

from sqlalchemy import select

from relay_core.domain.step import AgentStep
from relay_core.store.executions.action_json import action_from_json
from relay_core.store.schema.tables import ExecutionProcess
from relay_core.store.transaction import Database


def planned_agent(database: Database, execution_id: Any) -> AgentStep:
    """Return the step of the agent that follows an execution."""
    found = select(ExecutionProcess.executor_action).where(ExecutionProcess.id == UUID(str(execution_id)))
    with database.connect() as connection:
        group = action_from_json(connection.execute(found).scalar_one()).following
    while group is not None:
        for step in group.steps:
            if isinstance(step, AgentStep):
                return step
        group = group.following
    raise AssertionError(f"no agent follows execution {execution_id}")
