"""Schemas of executions, their logs, and the git state before and after them."""

from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import Field

from relay_api.schemas.common import Input, NextCursor, Output
from relay_api.schemas.links import DiffLinks, ExecutionLinks
from relay_api.schemas.measures import PatchStat, StateStat, UsageOut, is_none
from relay_api.schemas.shapes import EventPayload, Shaped, StepAction, WorkTreeSummary
from relay_core.domain.admission import LimitKind, WaitKind
from relay_core.domain.events import EventKind
from relay_core.domain.git.fetch_progress import FetchPhase
from relay_core.domain.operations import SubjectKind
from relay_core.domain.vocabulary import EvidenceState, OperationClass, Reason, RunReason, Status


class OmittedOut(Output):
    """A changed path whose content Relay has not kept."""

    path: str
    why: str


class ExcludedOut(Output):
    """A new file or directory that is in no commit and no patch, because it matches the exclude list of the server."""

    path: str
    pattern: str


class ExcludedPaths(Output):
    """Files and directories that the exclude list of the server (`RELAY_AUTO_COMMIT_EXCLUDES`) left out."""

    count: int = Field(description="Number of files and directories, at most 10,000.")
    paths: list[ExcludedOut] = Field(description="The first 100.")


class RepoStateOut(Output):
    """Git state of one repository, recorded before and after an execution."""

    repo_id: UUID
    name: str
    before_head_commit: str | None
    after_head_commit: str | None
    merge_commit: str | None
    after_state: EvidenceState = Field(
        description="Whether the state afterwards is known: `pending` until the execution ends; `unavailable` where "
        "the repository could not be read, as on a lost node; `recorded_late` once that node has returned and told it."
    )
    branch: str | None = Field(description="Branch of HEAD afterwards; null when detached or not yet known.")
    dirty: bool | None = Field(
        description="Whether the work tree had uncommitted changes afterwards; null where it could not be read."
    )
    summary: Annotated[dict[str, Any], Shaped(WorkTreeSummary)] | None = Field(
        description="Counts and first paths of what is modified and untracked."
    )
    pinned_commit: str | None = Field(description="The whole work tree afterwards as a commit.")
    committed: str | None = Field(description="The commit that Relay made, if it made one.")
    problem: str | None = Field(description="Why a part of the evidence could not be taken.")
    stat: StateStat | None
    masked: list[str] = Field(
        description="Where secrets are masked: `branch`, `summary`, and `patch:PATH` of files in the patch."
    )
    omitted: list[OmittedOut] = Field(
        description="What changed and is in no commit or patch: nested repositories, submodules, what cannot be read."
    )
    excluded: ExcludedPaths | None = Field(
        description="New files that the exclude list left out, such as caches; null: none. Their patterns say why."
    )


class LogOut(Output):
    """How much of one stream of a log is stored."""

    bytes: int
    sha256: str | None = Field(description="SHA-256 of the stored bytes, once the log is complete.")
    truncated: bool = Field(description="Whether the process wrote more than is stored.")
    closed: bool = Field(description="Whether the log is complete: no byte will be added.")
    removed_at: datetime | None = Field(
        None,
        exclude_if=is_none,
        description="When its bytes were removed because of their age or size; left out while they are there.",
    )


class LogsOut(Output):
    """The three streams of a log; `all` contains stdout and stderr in the order in which they were stored."""

    stdout: LogOut
    stderr: LogOut
    all: LogOut


class DevServerAddress(Output):
    """The address of a dev server."""

    url: str | None = Field(description="URL on the node's loopback address; null while the port does not answer.")


class ProgressOut(Output):
    """How far the fetch of a running clone has come; see the event `execution.progress`."""

    remote: str = Field(description="URL of the repository that is fetched.")
    phase: FetchPhase = Field(
        description="`receiving`: objects arrive. `resolving`: those that arrived as differences are completed."
    )
    objects: int = Field(description="Objects of this phase that are done.")
    total: int = Field(description="Objects of this phase.")
    bytes: int | None = Field(description="Bytes received so far; null while they are not known.")
    percent: int = Field(description="`objects` of `total`, rounded down.")
    message: str = Field(description="The progress as a clause for people.")


class ExecutionOut(Output):
    """One execution: one step of a workspace (clone, script, agent or dev server), or the clone of a project."""

    id: UUID
    run_id: UUID | None = Field(description="The run that it is part of; null for dev servers and archive scripts.")
    workspace_id: UUID | None = Field(description="Null for the clone of a project, which needs no workspace.")
    session_id: UUID | None = Field(description="Null if `workspace_id` is.")
    project_id: UUID | None = Field(description="The project that it clones without a workspace; null for all others.")
    group_id: UUID = Field(description="Its step group: the steps of one group run at the same time.")
    run_reason: RunReason
    operation_class: OperationClass = Field(
        description="What such executions may change; all but `read_only` are refused while a clone is diverged."
    )
    repo: str | None = Field(description="Name of the repository whose script it is.")
    executor: str | None = Field(description="Of a coding agent.")
    status: Status
    reason: Reason | None = Field(description="Why it failed or was killed.")
    error_reason: str | None = Field(description="The reason as a sentence for people.")
    exit_code: int | None
    attempt: int
    retry_of: UUID | None = Field(description="The execution that this one repeats.")
    dropped: bool = Field(description="Whether the workspace has gone back to its state before it.")
    node_id: str | None
    created_at: datetime
    started_at: datetime | None
    completed_at: datetime | None
    kill_requested_at: datetime | None
    kill_requested_by: str | None
    repo_states: list[RepoStateOut]
    logs: LogsOut
    dev_server: DevServerAddress | None = Field(description="Of a dev server.")
    progress: ProgressOut | None = Field(description="Of a running clone that has told its progress.")
    links: ExecutionLinks


class RetryIn(Input):
    """Request to retry an execution."""

    run_agent_again: bool = Field(
        default=False,
        description="Required for a coding_agent: it may have changed anything before it ended.",
    )


class NextStep(Output):
    """A step that runs if this execution succeeds."""

    run_reason: RunReason
    repo: str | None


class WaitOut(Output):
    """The reason why a step is queued, in fields."""

    kind: WaitKind = Field(
        description="`lane`: another step of the workspace; `limit`: a limit on concurrent runs; `capability`: no node "
        "declares what the run needs; `node`: no node is online or has room; `workspace`: it is stopped."
    )
    message: str = Field(description="The reason as a clause for people.")
    limit: LimitKind | None = Field(description="Of `limit`: what the limit applies to.")
    name: str | None = Field(description="Of `limit`: id of the project, or name of the owner, pool or node.")
    max_runs: int | None = Field(description="Of `limit`: the most runs at once.")
    capabilities: list[str] = Field(description="Of `capability`: those that no node declares.")
    executions: list[UUID] = Field(description="Of `lane`: executions that hold the lane now.")


class QueueOut(Output):
    """The reasons why an execution is still queued."""

    ahead: int = Field(description="Queued executions of this workspace that come first.")
    waits_for: list[UUID] = Field(description="Executions that hold the workspace's lane now.")
    waits: str | None = Field(
        description="Further reason: a limit is reached; no node has room, is online or has a needed capability; or "
        "the workspace is stopped. Null where a worker is about to take it."
    )


class TurnOut(Output):
    """A coding agent's turn: one prompt and the agent's work on it."""

    agent_session_id: str | None = Field(description="The agent's own id of the conversation.")
    agent_message_id: str | None = Field(
        description="The agent's own id of its last message; null while it works, and of agents that print none."
    )
    prompt: str | None
    summary: str | None = Field(description="Last message of the agent.")
    usage: UsageOut | None
    seen: bool = Field(description="Whether a person has looked at it: false until a client says so.")


class TurnChange(Input):
    """A change of an agent's turn."""

    seen: bool = Field(description="Whether a person has looked at it.")


class ExecutionDetail(ExecutionOut):
    """One execution with its step, the steps that follow it, its agent's turn and its place in the queue."""

    action: Annotated[dict[str, Any], Shaped(StepAction)] = Field(
        description="The step: script or prompt, executor, directory; never environment values."
    )
    next: list[NextStep]
    turn: TurnOut | None = Field(description="Of a coding agent.")
    waits_for: WaitOut | None = Field(
        description="What it waits for while it is queued; null if a worker is about to take it."
    )
    queue: QueueOut | None = Field(description="Reasons why it is queued; null once it has started or ended.")


class ExecutionPage(Output):
    """A page of executions."""

    items: list[ExecutionOut]
    next_cursor: NextCursor


class DiffOut(Output):
    """The changes in one repository."""

    repo_id: UUID
    name: str
    execution_id: UUID | None = Field(
        description="Execution whose after-state the diff shows; null when none is recorded yet."
    )
    base_commit: str | None
    head_commit: str | None
    stat: PatchStat | None = Field(description="Null: no state is recorded.")
    applies: bool | None = Field(
        description="Whether `git apply` makes of the base what the workspace has: the patch is not cut, and nothing "
        "in it is masked. Null: there is no patch."
    )
    masked: list[str] = Field(
        description="Files in whose part of the patch secrets are masked (the commits have them as they are)."
    )
    omitted: list[OmittedOut] = Field(
        description="What changed and is not in the patch: nested repositories, submodules, what cannot be read."
    )
    excluded: list[ExcludedOut] = Field(
        description="New files that the exclude list of the server left out of commits and patch; the first 100."
    )
    bundle_bytes: int | None = Field(
        description="Size of the git bundle of the recorded state (`…/bundle`); null: there is none."
    )
    bundle_problem: str | None = Field(description="Why there is no bundle; null: there is one.")


class DiffList(Output):
    """The changes of a workspace, run or execution, one item for each repository."""

    items: list[DiffOut]
    links: DiffLinks


class ChangedFileOut(Output):
    """A file that a workspace changed."""

    path: str = Field(description="Path after the change; of a removed file the one before.")
    change: Literal["added", "deleted", "renamed", "copied", "mode", "modified"]
    insertions: int = Field(description="Added lines; 0 for a binary file.")
    deletions: int = Field(description="Removed lines; 0 for a binary file.")
    binary: bool


class ChangedFilesOut(Output):
    """The files that a workspace changed in one repository, compared with its target branch."""

    repo_id: UUID
    name: str
    target_branch: str | None
    base_commit: str | None = Field(description="Commit of the target branch on which the workspace's work begins.")
    head_commit: str | None
    stat: PatchStat | None = Field(description="Of all files; null: no state is recorded.")
    complete: bool = Field(
        description="Whether `files` has all changed files. It has not if the patch was cut (`RELAY_PATCH_MAX_BYTES`; "
        "`stat` counts all of it), if more than 2,000 files changed, or if changes are not in the patch (`omitted`)."
    )
    files: list[ChangedFileOut]


class ChangedFilesList(Output):
    """The changed files of a workspace, one item for each repository."""

    items: list[ChangedFilesOut]


class EventOut(Output):
    """An event of an operation, such as an execution, and of its subject, such as a workspace."""

    cursor: int | None = Field(
        description="Position among the workspace's events, 1..n without gap; null for an event without a workspace."
    )
    workspace_id: UUID | None = Field(description="Null: the event is about something else, its subject.")
    project_id: UUID | None = Field(description="Of an event that is about a project; null for all others.")
    subject_kind: SubjectKind = Field(description="What the event is about.")
    subject_id: str
    operation_id: UUID | None = Field(description="The execution, or other operation, that it belongs to.")
    sequence: int | None = Field(description="Position among the operation's events, 1..n without gap.")
    kind: str = Field(description="What happened.", json_schema_extra={"enum": list(EventKind)})
    terminal: bool = Field(
        description="Whether it is the last event of the operation, with the outcome in its payload."
    )
    payload: Annotated[dict[str, Any], Shaped(EventPayload)]
    created_at: datetime


class EventList(Output):
    """Events in order."""

    items: list[EventOut]


class WorkspaceEventList(EventList):
    """Events of one workspace in order, with the cursor of the last one."""

    next_after: int = Field(description="Pass it as `after` to go on.")


class GlobalEventList(EventList):
    """Events of all subjects in order, with the cursor of the last one."""

    next_after: str = Field(description="Pass it as `after` to go on.")
