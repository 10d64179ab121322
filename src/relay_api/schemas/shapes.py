"""Shapes of objects that answers show as they are stored: the OpenAPI document describes them, nothing checks them.

Rows of other versions of Relay may lack fields of a shape, or have more.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, GetJsonSchemaHandler
from pydantic.json_schema import JsonSchemaValue, models_json_schema
from pydantic_core import CoreSchema

from relay_core.domain.directories import DirectoryFinding
from relay_core.domain.git.fetch_progress import FetchPhase
from relay_core.domain.vocabulary import GitState, MergeKind, MergeMethod, Reason, RunReason

_COMPONENTS = "#/components/schemas/"


class Shape(BaseModel):
    """Base class of shapes: fields that have a default may be left out, and there may be others."""

    model_config = ConfigDict(extra="allow", populate_by_name=True)


@dataclass(frozen=True)
class Shaped:
    """Annotation of a dictionary: the OpenAPI document describes it as the model, and answers have it as it is."""

    model: type[Shape]

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        """Return a mark that `described` replaces: pydantic itself cannot refer to a model that is not the type."""
        return {**handler(schema), MARK: self.model.__name__}


MARK = "x-relay-shape"


def described(document: dict[str, Any]) -> None:
    """Add the shapes to the components of an OpenAPI document, and refer to them where they are marked."""
    _, made = models_json_schema(
        [(model, "serialization") for model in Shape.__subclasses__()], ref_template=f"{_COMPONENTS}{{model}}"
    )
    document["components"]["schemas"].update(made["$defs"])
    _refer(document)


def _refer(part: Any) -> None:
    if isinstance(part, dict) and MARK in part:
        name, text = part[MARK], part.get("description")
        part.clear()
        part |= {"$ref": f"{_COMPONENTS}{name}"} | ({"description": text} if text else {})
    for each in part.values() if isinstance(part, dict) else part if isinstance(part, list) else ():
        _refer(each)


class StepExecutor(Shape):
    """The executor of a step, with the options of its profile."""

    name: str
    command: str | None = None
    variant: str | None = Field(None, description="Name of the profile that the other fields were taken from.")
    model: str | None = None
    reasoning_effort: str | None = None
    permission_mode: str | None = None
    args: list[str] = Field(default_factory=list, description="More arguments of the agent's program.")
    env: dict[str, str] = Field(
        default_factory=dict, description="Variables of the profile, which are not secret; those of the run come first."
    )


class StepAction(Shape):
    """The step of an execution. It never has values of the run's environment."""

    run_reason: RunReason
    repo: str | None = Field(None, description="Name of the repository whose script it is.")
    cwd: str = Field("", description="Directory in which it runs, below the directory of the workspace.")
    as_root: bool = False
    script: str | None = Field(None, description="Of scripts and dev servers.")
    executor: StepExecutor | None = Field(None, description="Of a coding agent.")
    prompt: str | None = Field(None, description="Of a coding agent.")
    follow_up: bool = Field(default=False, description="Of a coding agent: whether it goes on with a conversation.")
    branch: str | None = Field(None, description="Of a push: the remote's branch; null: named as the workspace's.")
    force: bool = Field(default=False, description="Of a push: whether other commits of the branch may be replaced.")
    targets: list[dict[str, str]] = Field(
        default_factory=list, description="Of a reset: `repo` and `commit` of each clone that is reset."
    )
    discard_changes: bool = Field(
        default=False, description="Of a reset: whether uncommitted changes may be thrown away."
    )
    target_branch: str | None = Field(None, description="Of a merge and a rebase: branch of the remote.")
    merge_id: UUID | None = Field(None, description="Of a merge.")
    kind: MergeKind | None = Field(None, description="Of a merge.")
    method: MergeMethod | None = Field(None, description="Of a merge.")
    message: str | None = Field(None, description="Of a merge: the message of its commit.")


class WorkTreeSummary(Shape):
    """Numbers of changes in a work tree by kind, and the first of them."""

    staged: int
    modified: int
    deleted: int
    untracked: int
    unmerged: int
    nested: int = Field(description="Untracked repositories inside of the clone.")
    paths: list[str] = Field(description="The first 50 changes as `git status --porcelain` writes them.")
    complete: bool = Field(description="Whether all changes were counted.")


class Capabilities(Shape):
    """Properties of a node and of its container engine, as the node reports them. Empty until the engine answered."""

    engine_version: str | None = None
    cgroup_version: str | None = None
    cpus: int | None = Field(None, description="Processors of the host.")
    memory_bytes: int | None = Field(None, description="Memory of the host, in bytes.")
    images: list[str] = Field(default_factory=list, description="Names of images on the node.")
    slots_per_worker: int | None = Field(None, description="Executions that one worker carries out at once.")
    default_image: str | None = None
    git_image: str | None = None
    workers: list[str] = Field(default_factory=list, description="Celery's names of its workers that live.")
    data_dir_problem: str | None = Field(
        None, description="Why its data directory does not answer, and for how long it has not; null: it answers."
    )


class EventPayload(Shape):
    """Details of an event; its `kind` decides which of the fields there are."""

    run_reason: RunReason | None = Field(None, description="Of `execution.queued` and `execution.started`.")
    repo: str | None = Field(
        None,
        description="Of `execution.queued`, `.evidence_problem`, `.locks_removed` and `merge.merged`, and of "
        "`workspace.git_state_changed` and `.expiry_held`: its name.",
    )
    node_id: str | None = Field(
        None,
        description="Of `execution.started`, `workspace.leftovers_ended`, `.evidence_recorded`, `.forked`, "
        "`.git_state_changed`, `.work_kept`, `.removed`, `.not_removed`, `.restored`, `.not_restored` and `.purged`, "
        "of ends of clones of projects, and of events of nodes and orphans; of `project.clone_repeated`: the lost one.",
    )
    attempt: int | None = Field(None, description="Of `execution.started`.")
    remote: str | None = Field(None, description="Of `execution.progress` and `mirror.purged`: URL of a repository.")
    phase: FetchPhase | Literal["resume"] | None = Field(
        None,
        description="Of `execution.progress`: which part of the fetch is under way; of `.conversation_torn`: `resume`.",
    )
    objects: int | None = Field(None, description="Of `execution.progress`: objects that are received or resolved.")
    total: int | None = Field(None, description="Of `execution.progress`: objects that there are in all.")
    bytes: int | None = Field(
        None,
        description="Of `execution.progress`: bytes received so far; null while they are not known. Of "
        "`.conversation_torn`: the length of the line.",
    )
    file: str | None = Field(None, description="Of `execution.conversation_torn`: the file, below the workspace.")
    line: int | None = Field(None, description="Of `execution.conversation_torn`: the number of the torn line.")
    offset: int | None = Field(None, description="Of `execution.conversation_torn`: how many bytes are before it.")
    kept_as: str | None = Field(
        None, description="Of `execution.conversation_torn`: name of the file beside it that has the torn line."
    )
    from_: str | None = Field(
        None,
        alias="from",
        description="Of `execution.adopted`: the worker that had it; of `workspace.moved`: the place.",
    )
    by: str | None = Field(
        None,
        description="Of `execution.adopted`: the worker that has it now. Of `execution.kill_requested`, "
        "`workspace.state_requested`, `workspace.deleted`, `.restore_requested`, `.purge_requested`, "
        "`.divergence_acknowledged`, "
        "and events of projects, nodes and credentials: who asked.",
    )
    why: str | None = Field(
        None,
        description="Of `execution.adopted`, `workspace.container_restarted`, `.request_dropped`, `mirror.purged`, "
        "`node.detached` and `node.capabilities_updated`. Of `workspace.purged`: `request`, `period` or `disk`.",
    )
    found: str | None = Field(None, description="Of `workspace.container_restarted`: the container's state before.")
    message: str | None = Field(
        None,
        description="Of `execution.log_cut`, `.log_incomplete`, `.evidence_problem`, `.cleanup_skipped`, "
        "`.conversation_begun_anew`, `.conversation_torn` and `orphan.found`: a sentence for people.",
    )
    omitted: list[dict[str, str]] | None = Field(
        None, description="Of `execution.evidence_problem`: changed paths without content, as `path` and `why`."
    )
    count: int | None = Field(
        None, description="Of `execution.leftovers_ended`: killed processes; of `workspace.imported`: executions."
    )
    names: list[str] | None = Field(None, description="Of `execution.leftovers_ended`: names of the processes.")
    files: int | list[str] | None = Field(
        None, description="Of `execution.files_given_back`: their number; of `execution.locks_removed`: their paths."
    )
    uid: int | None = Field(None, description="Of `execution.files_given_back`: to whom they belong now.")
    status: str | None = Field(
        None,
        description="Of `execution.completed`, `.failed` and `.killed`: the execution's; of `task.status_changed`: "
        "the task's.",
    )
    merge_id: UUID | None = Field(None, description="Of `merge.opened` and `merge.merged`.")
    target_branch: str | None = Field(None, description="Of `merge.merged`: the branch that has the work.")
    merge_commit: str | None = Field(None, description="Of `merge.merged`: the commit by which it got it.")
    project_id: UUID | None = Field(
        None, description="Of `project.state_changed` and of `.first_workspace_made` and `.first_workspace_failed`."
    )
    first_workspace_id: UUID | None = Field(None, description="Of `project.first_workspace_made`.")
    clone_error: str | None = Field(None, description="Of `project.state_changed`: why the latest clone failed.")
    reason: Reason | None = Field(
        None,
        description="Of `execution.completed`, `.failed` and `.killed`, of `project.clone_failed`, and of "
        "`workspace.not_removed`, `workspace.not_restored` and `orphan.not_removed`.",
    )
    place: str | None = Field(
        None, description="Of `workspace.moved`, `.adopted` and events of directories: path of the directory there."
    )
    places: list[str] | None = Field(None, description="Of `workspace.duplicated`: the directories.")
    finding: DirectoryFinding | None = Field(None, description="Of `directory.found`.")
    found_id: UUID | None = Field(None, description="Of `directory.found`: the workspace that its anchor names.")
    kept_until: datetime | None = Field(
        None, description="Of `workspace.removed`: until when it can be restored; null: nothing of it is kept."
    )
    workspaces: int | None = Field(None, description="Of `project.restored`: how many of its workspaces come back.")
    act: str | None = Field(None, description="Of `workspace.expired`: stop, archive or delete.")
    idle_seconds: int | None = Field(None, description="Of `workspace.expired`: since when nothing happened.")
    hours: float | None = Field(None, description="Of `workspace.expired`: after how many the act is due.")
    setting: str | None = Field(None, description="Of `workspace.expired`: what says so, of the project or the server.")
    of_project: bool | None = Field(None, description="Of `workspace.expired`: whether it is of the project.")
    repos: list[Any] | None = Field(
        None,
        description="Of `workspace.work_kept`: objects with `repo`, `commit` and `dirty`; of "
        "`workspace.evidence_recorded`: ids.",
    )
    problem: str | None = Field(
        None, description="Of `workspace.expiry_held`: why the work of the repository cannot be kept."
    )
    paths: list[str] | None = Field(None, description="Of `execution.write_refused`: the first 20.")
    origin_id: UUID | None = Field(None, description="Of `workspace.imported`: the Relay that it came from.")
    source_id: UUID | None = Field(None, description="Of `workspace.imported`: its id there.")
    delegation_id: UUID | None = Field(None, description="Of events of delegations, and so are the next fields.")
    parent_workspace_id: UUID | None = Field(None, description="Of events of delegations: who has leased.")
    child_workspace_id: UUID | None = Field(None, description="Of events of delegations: who holds the lease.")
    rules: list[dict[str, Any]] | None = Field(
        None, description="Of events of delegations: `repo`, `path` (empty: the whole branch), `permission`."
    )
    epoch: int | None = Field(None, description="Of events of delegations.")
    visibility: str | None = Field(
        None, description="Of events of delegations: `agent` if the next prompt tells of it, else `control`."
    )
    inherited: list[UUID] | None = Field(
        None, description="Of `delegation.released` and `.reclaimed`: leases that the parent has now."
    )
    reclaim_reason: str | None = Field(None, description="Of `delegation.reclaimed`: why.")
    delegable: list[dict[str, Any]] | None = Field(
        None, description="Of `workspace.scope_changed`: rules of what it may lease; null: nothing."
    )
    denied: list[dict[str, Any]] | None = Field(
        None, description="Of `workspace.scope_changed`: rules of what it may not write."
    )
    exit_code: int | None = Field(None, description="Of `execution.completed`, `.failed` and `.killed`.")
    error_reason: str | None = Field(
        None,
        description="Of `execution.completed`, `.failed` and `.killed`, of `workspace.state_changed` and of "
        "`project.clone_failed` and `.first_workspace_failed`: the reason as a sentence for people.",
    )
    url: str | None = Field(
        None, description="Of `dev_server.ready`: address on the node's loopback; of `merge.opened`: the pull request."
    )
    from_workspace_id: UUID | None = Field(
        None, description="Of `workspace.forked`: the workspace whose recorded states it starts from."
    )
    states: list[dict[str, Any]] | None = Field(
        None,
        description="Of `workspace.forked`: for each repository `repo`, `commit`, `execution_id` (after which it was "
        "recorded), `omitted` (changed paths that the state lacks, as `path` and `why`) and `problem`.",
    )
    image: str | None = Field(None, description="Of `workspace.created`.")
    title: str | None = Field(None, description="Of `workspace.created`.")
    state: str | None = Field(
        None,
        description="Of `workspace.state_requested` and `workspace.state_changed`: the workspace's; of "
        "`project.state_changed`: the project's; of `node.capabilities_updated`: the attachment's.",
    )
    execution_id: UUID | None = Field(
        None,
        description="Of `workspace.leftovers_ended`, `.evidence_recorded` and `.executions_dropped`, and of events "
        "of the clone of a project; of `project.clone_repeated`: the new one.",
    )
    task_id: UUID | None = Field(None, description="Of events of tasks, and of `project.first_workspace_made`.")
    name: str | None = Field(None, description="Of events of projects and of `credential.changed`.")
    change: str | None = Field(
        None, description="Of `credential.changed`: `created`, `revoked`, `stored` or `removed`."
    )
    pool: str | None = Field(None, description="Of `node.attached`, `node.detached` and `pool.floor_changed`.")
    version: str | None = Field(None, description="Of `pool.floor_changed`: the floor; null: there is none.")
    git_state: GitState | None = Field(None, description="Of `workspace.git_state_changed`: of the clone of `repo`.")
    head_commit: str | None = Field(None, description="Of `workspace.git_state_changed`: HEAD as the node saw it.")
    recorded_commit: str | None = Field(
        None, description="Of `workspace.git_state_changed`: HEAD as an execution or an acknowledgement left it."
    )
    dev_servers: list[UUID] | None = Field(
        None, description="Of `workspace.git_state_changed`: dev servers that ran when it was found."
    )
    executions: list[UUID] | None = Field(None, description="Of `workspace.executions_dropped`: their ids.")
    clones: list[dict[str, str | None]] | None = Field(
        None,
        description="Of `workspace.divergence_acknowledged`: `repo`, `head_commit` and `recorded_commit` of each clone "
        "that was accepted.",
    )
    fields: list[str] | None = Field(None, description="Of `….changed` of a project, task or workspace.")
    repo_id: UUID | None = Field(None, description="Of `project.changed`: the repository in the project.")


class MovedEntity(Shape):
    """An entity for another Relay, with the ids of this one: the fields of an import, by kind of entity."""

    name: str | None = Field(None, description="Of a project.")
    repos: list[dict[str, Any]] | None = Field(None, description="Of a project: its repositories.")
    project_id: UUID | None = Field(None, description="Of a task: its project in this Relay.")
    title: str | None = Field(None, description="Of a task.")
    image_ids: list[UUID] | None = Field(None, description="Of a task: its images in this Relay.")
    task_id: UUID | None = Field(None, description="Of a workspace: its task in this Relay.")
    executions: int | None = Field(None, description="Of a workspace: how many it has.")
    event_seq: int | None = Field(None, description="Of a workspace: the cursor of its newest event.")
    workspace_id: UUID | None = Field(None, description="Of a pull request: its workspace in this Relay.")
    pr_url: str | None = Field(None, description="Of a pull request.")
