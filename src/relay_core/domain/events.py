"""The kinds of events: the closed set of words that the API shows as `kind`."""

from enum import StrEnum

from relay_core.domain.vocabulary import Status


class EventKind(StrEnum):
    """Something that happened to an execution, its workspace or its task; the field docs name the payload."""

    # an execution; the event carries its operation id
    EXECUTION_QUEUED = "execution.queued"
    """`run_reason`, `repo`."""
    EXECUTION_STARTED = "execution.started"
    """`run_reason`, `node_id`, `attempt`: a worker has claimed it."""
    EXECUTION_ADOPTED = "execution.adopted"
    """`from`, `by`, `why`: another worker has taken it over."""
    EXECUTION_KILL_REQUESTED = "execution.kill_requested"
    """`by`."""
    EXECUTION_CONVERSATION_BEGUN_ANEW = "execution.conversation_begun_anew"
    """`message`: a follow-up found no conversation to continue."""
    EXECUTION_LOG_CUT = "execution.log_cut"
    """`message`: output of a background process after the end of the step is not stored."""
    EXECUTION_LOG_INCOMPLETE = "execution.log_incomplete"
    """`message`: output was lost in the container before a worker could read it."""
    EXECUTION_LEFTOVERS_ENDED = "execution.leftovers_ended"
    """`count`, `names`: processes that the step left running were ended."""
    EXECUTION_EVIDENCE_PROBLEM = "execution.evidence_problem"
    """`repo`, `message`, `omitted`: the state of a repository could not be stored completely."""
    EXECUTION_FILES_GIVEN_BACK = "execution.files_given_back"
    """`files`, `uid`: files that a step of root left were given to the workspace's user."""
    EXECUTION_LOCKS_REMOVED = "execution.locks_removed"
    """`repo`, `files`: git's lock files of ended processes were removed."""
    EXECUTION_COMPLETED = "execution.completed"
    """Terminal: `status`, `reason`, `exit_code`, `error_reason`."""
    EXECUTION_FAILED = "execution.failed"
    """Terminal, with the same payload."""
    EXECUTION_KILLED = "execution.killed"
    """Terminal, with the same payload."""
    DEV_SERVER_READY = "dev_server.ready"
    """`url`: its port answers."""

    # a workspace
    WORKSPACE_CREATED = "workspace.created"
    """`image`, `title`."""
    WORKSPACE_STATE_REQUESTED = "workspace.state_requested"
    """`state`, `by`: a stop or a resume was asked for."""
    WORKSPACE_STATE_CHANGED = "workspace.state_changed"
    """`state`, `error_reason`."""
    WORKSPACE_CONTAINER_RESTARTED = "workspace.container_restarted"
    """`found` or the cause: its container was started again."""
    WORKSPACE_LEFTOVERS_ENDED = "workspace.leftovers_ended"
    """Processes of an execution that had ended before them were ended on its node."""
    WORKSPACE_DELETED = "workspace.deleted"
    """`by`."""
    WORKSPACE_REMOVED = "workspace.removed"
    """`node_id`: container and directory of a deleted workspace are gone."""

    # a task
    TASK_STATUS_CHANGED = "task.status_changed"
    """`task_id`, `status`."""


TERMINAL = {
    Status.COMPLETED: EventKind.EXECUTION_COMPLETED,
    Status.FAILED: EventKind.EXECUTION_FAILED,
    Status.KILLED: EventKind.EXECUTION_KILLED,
}
"""The kind of the last event of an execution, by the status that it ended with."""
