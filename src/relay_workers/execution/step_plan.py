"""The plan of a step's process: a script as it is, or the program that an agent's executor makes of a prompt."""

from dataclasses import replace

from relay_core.domain.agents.executors import ExecutorChoice, check_executor
from relay_core.domain.errors import InvalidInput, StepFailed
from relay_core.domain.step import AgentStep, CloneStep
from relay_core.domain.vocabulary import Reason
from relay_core.store.executions.claim import Claimed
from relay_core.store.transaction import Database
from relay_core.store.workspaces import sessions
from relay_workers.agents.port import StepPlan, TurnRequest
from relay_workers.agents.registry import get_executor
from relay_workers.execution.step_place import step_uid
from relay_workers.execution.workspace import WorkspaceHandle


def plan_step(database: Database, claimed: Claimed, workspace: WorkspaceHandle) -> StepPlan:
    """The script, standard input and environment of a step.

    Raises:
        StepFailed: `start_failed` or `cannot_resume`: the executor refuses the prompt or its settings.
    """
    step = claimed.step
    if isinstance(step, CloneStep):
        raise TypeError("a clone has no process in a container")
    if not isinstance(step, AgentStep):
        return StepPlan(script=step.script.encode(), stdin=b"", env={})
    choice = executor_choice(step)
    try:
        plan = get_executor(choice.name).plan(turn_request(database, claimed, step, workspace))
    except InvalidInput as error:  # the API refuses all other invalid input when the run is posted
        reason = Reason.CANNOT_RESUME if error.field == "session_id" else Reason.START_FAILED
        raise StepFailed(reason, str(error)) from error
    return replace(plan, env={**plan.env, **choice.env})


def executor_choice(step: AgentStep) -> ExecutorChoice:
    """The executor of an agent's step.

    Raises:
        StepFailed: `start_failed`: the session is older than a check that refuses its executor's settings now.
    """
    try:
        return check_executor(step.executor.as_json())
    except InvalidInput as error:
        raise StepFailed(Reason.START_FAILED, str(error)) from error


def turn_request(database: Database, claimed: Claimed, step: AgentStep, workspace: WorkspaceHandle) -> TurnRequest:
    """The prompt of an agent's step, and the conversation that a follow-up continues.

    A follow-up begins a new conversation where no turn of the session has left one, as when the agent was ended before
    it printed an id.
    """
    resumed = None
    if step.follow_up:
        with database.connect() as connection:
            resumed = sessions.agent_session_before(connection, claimed.session_id, claimed.execution_id)
    as_root = step_uid(claimed, workspace) == 0
    request = TurnRequest.of(executor_choice(step), step.prompt, resume_session_id=resumed, as_root=as_root)
    return replace(request, begins_anew=step.follow_up and resumed is None)
