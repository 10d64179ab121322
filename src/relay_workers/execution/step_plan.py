"""Plans a step's process: a script runs as it is; for a coding agent, its executor turns the prompt into a program."""

from collections.abc import Sequence
from dataclasses import replace

from relay_core.domain.agents.executors import EXECUTORS, ExecutorChoice, check_executor
from relay_core.domain.errors import InvalidInput, StepFailed
from relay_core.domain.step import AgentStep, CloneStep, GitStep
from relay_core.domain.uploaded_images import DIRECTORY, with_images
from relay_core.domain.vocabulary import Reason
from relay_core.store.delegations import notices
from relay_core.store.executions.claim import Claimed
from relay_core.store.transaction import Database
from relay_core.store.workspaces import sessions
from relay_workers.agents.port import StepPlan, TurnRequest
from relay_workers.agents.registry import get_executor
from relay_workers.execution.step_place import step_uid
from relay_workers.execution.workspace import WorkspaceHandle
from relay_workers.execution.write_scope import with_notices


def plan_step(
    database: Database, claimed: Claimed, workspace: WorkspaceHandle, images: Sequence[tuple[str, str]] = ()
) -> StepPlan:
    """Return the script, standard input and environment of a step.

    Args:
        database: has the conversation that a follow-up continues.
        claimed: the execution.
        workspace: the workspace in which it runs.
        images: name and path in the container of each image that the prompt of an agent is to name.

    Raises:
        StepFailed: `start_failed` or `cannot_resume`: the executor refuses the prompt or its settings.
    """
    step = claimed.step
    if isinstance(step, CloneStep | GitStep):
        raise TypeError(f"a {step.run_reason} has no process in a container")
    if not isinstance(step, AgentStep):
        return StepPlan(script=step.script.encode(), stdin=b"", env={})
    choice = executor_choice(step)
    if workspace.row.delegates:
        with database.begin() as connection:
            told = notices.take(connection, claimed.workspace_id, claimed.execution_id, claimed.fence)
        step = replace(step, prompt=with_notices(told, step.prompt))
    try:
        request = turn_request(database, claimed, step, workspace)
        prompt = with_images(request.prompt, images)
        here = tuple(f"{DIRECTORY}/{path.rpartition('/')[2]}" for _, path in images)
        plan = get_executor(choice.name).plan(replace(request, prompt=prompt, images=here))
    except InvalidInput as error:  # the API refuses all other invalid input when the run is posted
        reason = Reason.CANNOT_RESUME if error.field == "session_id" else Reason.START_FAILED
        raise StepFailed(reason, str(error)) from error
    return replace(plan, env={**plan.env, **choice.env})


def executor_choice(step: AgentStep) -> ExecutorChoice:
    """Return the executor of an agent's step, with its settings.

    Raises:
        StepFailed: `start_failed`: the settings are invalid. The API checks them when a session is made; a session can
            be older than a check.
    """
    try:
        return check_executor(step.executor.as_json())
    except InvalidInput as error:
        raise StepFailed(Reason.START_FAILED, str(error)) from error


def turn_request(database: Database, claimed: Claimed, step: AgentStep, workspace: WorkspaceHandle) -> TurnRequest:
    """Return the request to the agent: its prompt, its settings, and the conversation that a follow-up continues.

    A follow-up starts a new conversation if no earlier turn of the session has stored one, for example because the
    agent was killed before it printed an id. It also does if turns were dropped and the agent cannot go back to the
    message before them.
    """
    found = None
    if step.follow_up:
        with database.connect() as connection:
            found = sessions.conversation_before(connection, claimed.session_id, claimed.execution_id)
    choice = executor_choice(step)
    if found is not None and found.rewound and not (EXECUTORS[choice.name].rewinds and found.agent_message_id):
        found = None
    as_root = step_uid(claimed, workspace) == 0
    resumed = None if found is None else found.agent_session_id
    request = TurnRequest.of(choice, step.prompt, resume_session_id=resumed, as_root=as_root)
    message = found.agent_message_id if found is not None and found.rewound else None
    return replace(request, resume_message_id=message, begins_anew=step.follow_up and found is None)
