"""The steps that are planned behind an execution, as they are stored."""

from typing import Any
from uuid import UUID

from sqlalchemy import select

from relay_core.domain.chain import Action
from relay_core.domain.step import AgentStep
from relay_core.store.executions.action_json import action_from_json
from relay_core.store.schema.tables import ExecutionProcess
from relay_core.store.transaction import Database


def planned(database: Database, execution_id: Any) -> Action:
    """Return the step of an execution, and what follows it."""
    found = select(ExecutionProcess.executor_action).where(ExecutionProcess.id == UUID(str(execution_id)))
    with database.connect() as connection:
        return action_from_json(connection.execute(found).scalar_one())


def planned_agent(database: Database, execution_id: Any) -> AgentStep:
    """Return the step of the agent that follows an execution."""
    group = planned(database, execution_id).following
    while group is not None:
        for step in group.steps:
            if isinstance(step, AgentStep):
                return step
        group = group.following
    raise AssertionError(f"no agent follows execution {execution_id}")
