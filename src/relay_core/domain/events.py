"""The kinds of events: the closed set of words that the API shows as `kind`."""

from enum import StrEnum

from relay_core.domain.vocabulary import Status


class EventKind(StrEnum):
    """The kind of an event: something that happened to an execution, its workspace or its task.

    Each kind is documented with the fields of its payload.
    """

    # events of an execution; `operation_id` is the execution's id
    EXECUTION_QUEUED = "execution.queued"
    """The execution was created. Payload: `run_reason`, `repo`."""
    EXECUTION_STARTED = "execution.started"
    """A worker has claimed the execution. Payload: `run_reason`, `node_id`, `attempt`."""
    EXECUTION_ADOPTED = "execution.adopted"
    """Another worker has taken the execution over. Payload: `from`, `by`, `why`."""
    EXECUTION_PROGRESS = "execution.progress"
    """How far the fetch of a clone has come; at most one a second, and none if Postgres is slow.

    Payload: `remote`, `phase` (`FetchPhase`), `objects`, `total`, `bytes`.
    """
    EXECUTION_KILL_REQUESTED = "execution.kill_requested"
    """A kill of the running execution was requested. Payload: `by`."""
    EXECUTION_CONVERSATION_BEGUN_ANEW = "execution.conversation_begun_anew"
    """A follow-up found no conversation to continue, so the agent started a new one. Payload: `message`."""
    EXECUTION_CONVERSATION_TORN = "execution.conversation_torn"
    """The last line of the conversation's file was torn, and was set aside before the agent resumed it.

    Payload: `file`, `line`, `offset`, `bytes`, `phase`, `kept_as`, `message`.
    """
    EXECUTION_LOG_CUT = "execution.log_cut"
    """Output that a background process wrote after the end of the step is not stored. Payload: `message`."""
    EXECUTION_LOG_INCOMPLETE = "execution.log_incomplete"
    """Output was lost in the container before a worker could read it. Payload: `message`."""
    EXECUTION_LEFTOVERS_ENDED = "execution.leftovers_ended"
    """Processes that the step left running were killed. Payload: `count`, `names`."""
    EXECUTION_EVIDENCE_PROBLEM = "execution.evidence_problem"
    """The git state of a repository could not be stored completely. Payload: `repo`, `message`, `omitted`."""
    EXECUTION_CLEANUP_SKIPPED = "execution.cleanup_skipped"
    """An agent's turn changed nothing in any clone, so its cleanup scripts do not run. Payload: `message`."""
    EXECUTION_WRITE_REFUSED = "execution.write_refused"
    """Relay committed nothing, as some changes are outside of the scope. Payload: `repo`, `paths`, `message`."""
    DELEGATION_NOTICE_GIVEN = "delegation.notice_given"
    """The prompt of the agent begins with the news of a reclaimed lease. Payload: `delegation_id`, `message`."""
    EXECUTION_FILES_GIVEN_BACK = "execution.files_given_back"
    """Files that a step left owned by root now belong to the workspace's user. Payload: `files`, `uid`."""
    EXECUTION_LOCKS_REMOVED = "execution.locks_removed"
    """Lock files that killed git processes had left were removed. Payload: `repo`, `files`."""
    MERGE_OPENED = "merge.opened"
    """A pull request is open. Payload: `merge_id`, `url`."""
    MERGE_MERGED = "merge.merged"
    """The target branch has the work. Payload: `merge_id`, `repo`, `target_branch`, `merge_commit`."""
    EXECUTION_COMPLETED = "execution.completed"
    """Last event of an execution that completed. Payload: `status`, `reason`, `exit_code`, `error_reason`."""
    EXECUTION_FAILED = "execution.failed"
    """Last event of an execution that failed; same payload as `EXECUTION_COMPLETED`."""
    EXECUTION_KILLED = "execution.killed"
    """Last event of an execution that was killed; same payload as `EXECUTION_COMPLETED`."""
    DEV_SERVER_READY = "dev_server.ready"
    """The port of a dev server answers. Payload: `url`."""

    # events of a workspace
    WORKSPACE_CREATED = "workspace.created"
    """The workspace was created. Payload: `image`, `title`."""
    WORKSPACE_FORKED = "workspace.forked"
    """The workspace starts from recorded states of another one, on the same node.

    Payload: `from_workspace_id`, `node_id`, `states` (one object for each repository, with the commit).
    """
    WORKSPACE_IMPORTED = "workspace.imported"
    """The workspace came from another Relay; the events before it are of there.

    Payload: `origin_id`, `source_id`, `count` (of executions), `by`.
    """
    WORKSPACE_CHANGED = "workspace.changed"
    """Name, working directory, pin or archive of the workspace were changed. Payload: `fields`, `by`."""
    WORKSPACE_STATE_REQUESTED = "workspace.state_requested"
    """A client asked for a stop or a resume. Payload: `state`, `by`."""
    WORKSPACE_STATE_CHANGED = "workspace.state_changed"
    """The workspace is in another state. Payload: `state`, `error_reason`."""
    WORKSPACE_CONTAINER_RESTARTED = "workspace.container_restarted"
    """The workspace's container was started again. Payload: `found` (its state before) or `why`."""
    WORKSPACE_LEFTOVERS_ENDED = "workspace.leftovers_ended"
    """A node has killed the processes of an execution that was already ended. Payload: `execution_id`, `node_id`."""
    WORKSPACE_EVIDENCE_RECORDED = "workspace.evidence_recorded"
    """A returned node has recorded the git state after an execution that ended without it.

    Payload: `execution_id`, `node_id`, `repos` (repo ids).
    """
    WORKSPACE_EXPIRED = "workspace.expired"
    """Nothing happened in the workspace for so long that Relay does an act, which its own event follows.

    Payload: `act` (stop, archive, delete), `idle_seconds`, `hours` (the limit), `setting` (its name), `of_project`.
    """
    WORKSPACE_WORK_KEPT = "workspace.work_kept"
    """The work trees of a workspace were stored before its deletion (`GET /v1/workspaces/{id}/kept`).

    Payload: `node_id`, `repos` (a list of objects: repository, commit, whether there were uncommitted changes).
    """
    WORKSPACE_EXPIRY_HELD = "workspace.expiry_held"
    """A work tree cannot be stored completely, so the workspace is not deleted. Payload: `repo`, `problem`."""
    WORKSPACE_DELETED = "workspace.deleted"
    """The workspace was marked as deleted. Payload: `by`."""
    WORKSPACE_REMOVED = "workspace.removed"
    """Container and directory of a deleted workspace are gone, or in quarantine. Payload: `node_id`, `kept_until`."""
    WORKSPACE_NOT_REMOVED = "workspace.not_removed"
    """Its node has been silent for so long that it counts as gone, as the reason says. Payload: `node_id`, `reason`."""
    WORKSPACE_RESTORE_REQUESTED = "workspace.restore_requested"
    """A client asked for a deleted workspace whose files are in quarantine. Payload: `by`."""
    WORKSPACE_RESTORED = "workspace.restored"
    """The workspace is back, with its files, and stopped. Payload: `node_id`."""
    WORKSPACE_NOT_RESTORED = "workspace.not_restored"
    """The workspace does not come back. Payload: `node_id`, `reason`."""
    WORKSPACE_PURGE_REQUESTED = "workspace.purge_requested"
    """A client wants the files of a deleted workspace removed for good. Payload: `by`."""
    WORKSPACE_PURGED = "workspace.purged"
    """Nothing of a deleted workspace is left on its node. Payload: `node_id`, `why`."""
    WORKSPACE_MOVED = "workspace.moved"
    """Its node found the directory of the workspace in another place. Payload: `node_id`, `from`, `place`."""
    WORKSPACE_DUPLICATED = "workspace.duplicated"
    """Its node found several directories of the workspace; nothing starts in it. Payload: `node_id`, `places`."""
    WORKSPACE_NOT_DUPLICATED = "workspace.not_duplicated"
    """There is one directory of the workspace again. Payload: `node_id`."""
    WORKSPACE_ADOPTED = "workspace.adopted"
    """An operator made a directory of the node this workspace. Payload: `node_id`, `place`, `by`."""
    WORKSPACE_GIT_STATE_CHANGED = "workspace.git_state_changed"
    """A node found a clone that is not as it was recorded, or is so again.

    Payload: `repo`, `git_state`, `head_commit`, `recorded_commit`, `problem`, `dev_servers` (ids of those that ran),
    `node_id`.
    """
    WORKSPACE_DIVERGENCE_ACKNOWLEDGED = "workspace.divergence_acknowledged"
    """A person accepted clones as they were found.

    Payload: `by`, `clones` (a list of objects with the fields that the event before has).
    """
    WORKSPACE_EXECUTIONS_DROPPED = "workspace.executions_dropped"
    """The workspace is back at its state before an execution. Payload: `execution_id`, `executions` (ids, in order)."""
    WORKSPACE_REQUEST_DROPPED = "workspace.request_dropped"
    """A stop or a resume that was not carried out, because of a later request. Payload: `why`."""
    DELEGATION_RESERVED = "delegation.reserved"
    """A part of what the workspace may write was leased to a workspace of a subtask.

    Payload: `delegation_id`, `name`, `parent_workspace_id`, `child_workspace_id`, `rules`, `epoch`, `visibility`.
    """
    DELEGATION_ADOPTED = "delegation.adopted"
    """That workspace has started to use the lease; the same payload."""
    DELEGATION_SUB_DELEGATED = "delegation.sub_delegated"
    """The workspace of a subtask, or one below it, has leased a part of its own lease; same payload."""
    DELEGATION_RELEASED = "delegation.released"
    """A client ended the lease; leases of its workspace went to the parent. Payload: the same, `by`, `inherited`."""
    DELEGATION_RECLAIMED = "delegation.reclaimed"
    """The lease was taken back; `visibility` is then agent. Payload: the same, `reclaim_reason`, `inherited`."""
    SCOPE_CHANGED = "workspace.scope_changed"
    """A client set what the workspace may lease, and what is denied to it. Payload: `delegable`, `denied`, `by`."""

    # events of projects, nodes and credentials, and of containers that belong to no row; `workspace_id` is null
    PROJECT_STATE_CHANGED = "project.state_changed"
    """The project is in another state. Payload: `project_id`, `state`, `clone_error`."""
    PROJECT_FIRST_WORKSPACE_MADE = "project.first_workspace_made"
    """The first workspace was made, as its project is ready. Payload: `project_id`, `first_workspace_id`, `task_id`."""
    PROJECT_FIRST_WORKSPACE_FAILED = "project.first_workspace_failed"
    """The project is ready or deleted, and its first workspace was not made. Payload: `project_id`, `error_reason`."""
    PROJECT_CREATED = "project.created"
    """The project was created. Payload: `name`, `by`."""
    PROJECT_CHANGED = "project.changed"
    """The project, or a repository in it, was changed. Payload: `fields`, `by`; of a repository `repo_id`."""
    PROJECT_CLONE_STARTED = "project.clone_started"
    """A clone of the project was queued. Payload: `execution_id`, `by`."""
    PROJECT_CLONE_REPEATED = "project.clone_repeated"
    """Another node is to clone the project, because the first one was lost. Payload: `execution_id`, `node_id`."""
    PROJECT_CLONED = "project.cloned"
    """A node has fetched every repository of the project. Payload: `execution_id`, `node_id`."""
    PROJECT_CLONE_FAILED = "project.clone_failed"
    """The clone failed or was killed. Payload: `execution_id`, `node_id`, `reason`, `error_reason`."""
    PROJECT_DELETED = "project.deleted"
    """The project was marked as deleted; its workspaces follow. Payload: `name`, `by`."""
    PROJECT_RESTORED = "project.restored"
    """The deleted project is back; its kept workspaces follow. Payload: `name`, `by`, `workspaces`."""
    MIRROR_PURGED = "mirror.purged"
    """A node has removed a git mirror of the project. Payload: `node_id`, `remote`, `why`."""
    NODE_ATTACHED = "node.attached"
    """A node was attached to a pool, for the first time or again. Payload: `node_id`, `pool`."""
    NODE_DETACHED = "node.detached"
    """The node was detached from its pool, and gets no work. Payload: `node_id`, `pool`, `by`, `why`."""
    NODE_CAPABILITIES_UPDATED = "node.capabilities_updated"
    """The node declares other capabilities, or says that it is degraded. Payload: `node_id`, `state`, `why`."""
    POOL_FLOOR_CHANGED = "pool.floor_changed"
    """The lowest protocol version of nodes that may start steps changed. Payload: `pool`, `version`, `by`."""
    NODE_DRAINED = "node.drained"
    """An operator told the node to take no new workspaces. Payload: `node_id`, `by`."""
    NODE_UNDRAINED = "node.undrained"
    """An operator told the node to take new workspaces again. Payload: `node_id`, `by`."""
    NODE_REVOKED = "node.revoked"
    """The node starts nothing and takes nothing over any more. Payload: `node_id`, `by`."""
    NODE_RESTORED = "node.restored"
    """The node is not revoked any more, and takes work again. Payload: `node_id`, `by`."""
    DIRECTORY_FOUND = "directory.found"
    """A node has a directory that it does not use. Payload: `node_id`, `place`, `finding`, `found_id`."""
    DIRECTORY_SETTLED = "directory.settled"
    """That directory is gone, or is in use. Payload: `node_id`, `place`."""
    ORPHAN_FOUND = "orphan.found"
    """A node has a container that no workspace needs. Payload: `node_id`, `message`."""
    ORPHAN_REMOVED = "orphan.removed"
    """That container is gone from the node. Payload: `node_id`."""
    ORPHAN_NOT_REMOVED = "orphan.not_removed"
    """The node of that container counts as gone, as the reason says. Payload: `node_id`, `reason`."""
    CREDENTIAL_CHANGED = "credential.changed"
    """A token or a secret was stored, replaced, removed or revoked. Payload: `change`, `name`, `by`."""

    # events of a task, about its project or, where a step moved it, about the step's workspace
    TASK_CREATED = "task.created"
    """A task was created by itself, without an attempt. Payload: `task_id`, `title`, `by`."""
    TASK_CHANGED = "task.changed"
    """Fields of the task other than its status were changed. Payload: `task_id`, `fields`, `by`."""
    TASK_STATUS_CHANGED = "task.status_changed"
    """The task has another status. Payload: `task_id`, `status`; `by` if a person set it."""
    TASK_DELETED = "task.deleted"
    """The task was marked as deleted; its workspaces follow. Payload: `task_id`, `title`, `by`."""
    TASK_RESTORED = "task.restored"
    """The deleted task is back, as one of its workspaces is. Payload: `task_id`, `title`, `by` (who asked for it)."""


TERMINAL = {
    Status.COMPLETED: EventKind.EXECUTION_COMPLETED,
    Status.FAILED: EventKind.EXECUTION_FAILED,
    Status.KILLED: EventKind.EXECUTION_KILLED,
}
"""Kind of the last event of an execution, by the status with which the execution ended."""
