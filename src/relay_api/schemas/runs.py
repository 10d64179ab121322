"""Schemas of `POST /v1/runs` and of further steps in a workspace."""

from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import Field, StringConstraints

from relay_api.schemas.common import (
    AgentDir,
    BranchText,
    GitUrlText,
    ImageText,
    Input,
    Output,
    Prompt,
    RelativeDir,
    Script,
    ShortText,
)
from relay_api.schemas.images import ImageIds
from relay_api.schemas.links import NewRunLinks
from relay_api.schemas.patterns import CAPABILITY, NO_NUL, VARIABLE
from relay_api.schemas.run_notes import LabelName, Labels, LabelText, Metadata, NotesIn
from relay_api.schemas.secrets import SecretName
from relay_core.domain.agents.executors import EXECUTORS, MAX_COMMAND_BYTES
from relay_core.domain.limits import MINIMA, Limits

_DEFAULT = Limits()
MAX_UID = 2**31 - 1


class RepoUseIn(Input):
    """The branches and scripts of a repository in a workspace.

    What is null comes from the job file, then from the project, then from the repository (`GET /v1/repos`).
    """

    target_branch: BranchText | None = Field(
        None,
        description="Branch that the work is to be merged into, and starts from unless `ref` is given; null: the "
        "`default_target_branch` of the repository, else the remote's default branch.",
        examples=["main"],
    )
    ref: BranchText | None = Field(
        None,
        description="Where the work starts instead: a branch, a tag, a commit id (at least 7 digits) that a branch or "
        "tag of the remote contains, or a full ref name such as `refs/pull/7/head`. Null: the target branch.",
        examples=["v1.2.0"],
    )
    working_dir: RelativeDir | None = Field(
        None,
        description="Directory in the repository where its scripts and the agent run; relative, without `..`.",
        examples=["services/api"],
    )
    setup_script: Script | None = Field(None, description="sh script that runs before the agent.")
    cleanup_script: Script | None = Field(None, description="sh script that runs after a successful agent.")
    dev_server_script: Script | None = Field(
        None, description="sh script of the dev server; must listen on `$PORT`. Started on request only."
    )
    archive_script: Script | None = Field(None, description="sh script that runs on request, before archiving.")
    parallel_setup_script: bool | None = Field(
        None, description="Run setup scripts at once, if every repository that has one says so."
    )
    setup_as_root: bool = Field(default=False, description="Run the setup script as root in the container.")


class RepoIn(RepoUseIn):
    """A repository of a run; a run has at least one.

    What is null comes from the job file, then from the project, then from the repository (`GET /v1/repos`).
    """

    url: GitUrlText = Field(
        description="https, ssh (also `user@host:path`); http, file:// and private hosts only where the server allows "
        "them. Never with credentials.",
        examples=["https://git.example.org/team/app.git"],
    )


class ExecutorIn(Input):
    """The executor of a run: a coding agent, or a command."""

    name: Annotated[str, StringConstraints(max_length=64, pattern=NO_NUL)] = Field(
        description="; ".join(f"`{kind.name}`: {kind.summary}" for kind in EXECUTORS.values()),
        examples=["shell"],
        json_schema_extra={"enum": list(EXECUTORS)},
    )
    command: Annotated[str, StringConstraints(max_length=MAX_COMMAND_BYTES, pattern=NO_NUL)] | None = Field(
        None,
        description="Of `shell`, required: the sh command. Of an agent: words that replace its own program.",
        examples=["cat > NOTES.md"],
    )
    variant: ShortText | None = Field(None, description="Profile of the agent (`GET /v1/agents`); null: `default`.")
    model: ShortText | None = Field(None, description="As the agent spells it; null: the profile's.")
    reasoning_effort: ShortText | None = Field(None, description="Null: the profile's.")
    args: list[Annotated[str, StringConstraints(max_length=4096, pattern=NO_NUL)]] | None = Field(
        None, max_length=100, description="More arguments of the agent's program; null: the profile's."
    )
    permission_mode: ShortText | None = Field(None, description="`auto` (nothing is asked), or `plan` where it has it.")


class EnvIn(Input):
    """The value of an environment variable, and whether it is secret."""

    value: Annotated[str, StringConstraints(max_length=65536, pattern=NO_NUL)]
    secret: bool | None = Field(
        None,
        description="Whether it is replaced by `*` in logs, texts and diffs (values of at least 8 bytes); null: "
        "judged as a plain string is.",
    )


EnvName = Annotated[str, StringConstraints(max_length=255, pattern=VARIABLE)]
EnvText = Annotated[str, StringConstraints(max_length=65536, pattern=NO_NUL)]


SecretMapping = Annotated[
    dict[EnvName, SecretName], Field(max_length=50, json_schema_extra={"additionalProperties": False})
]
Env = dict[EnvName, EnvText | EnvIn]
Secrets = Annotated[list[SecretName], Field(max_length=50)] | SecretMapping
SecretReader = Literal["setup_script", "coding_agent", "dev_server", "cleanup_script", "archive_script"]


Capability = Annotated[str, StringConstraints(max_length=64, pattern=CAPABILITY)]


class LimitsIn(Input):
    """Limits of the workspace's container and of each of its executions; no limit may exceed the server's maximum."""

    memory_bytes: int = Field(
        _DEFAULT.memory_bytes, ge=MINIMA["memory_bytes"], description="Bytes of memory, no swap. End: `oom`."
    )
    cpus: float = Field(_DEFAULT.cpus, ge=MINIMA["cpus"], description="Processors' worth of time.")
    pids: int = Field(_DEFAULT.pids, ge=MINIMA["pids"], description="Processes and threads.")
    nofile: int = Field(_DEFAULT.nofile, ge=MINIMA["nofile"], le=1 << 20, description="Open files of one process.")
    timeout_seconds: int = Field(
        _DEFAULT.timeout_seconds, ge=1, description="Seconds of wall clock of one execution. End: `timeout`."
    )
    no_output_seconds: int = Field(
        _DEFAULT.no_output_seconds, ge=0, le=7 * 86400, description="Longest silence; 0: any. End: `no_output`."
    )
    log_bytes: int = Field(
        _DEFAULT.log_bytes, ge=1, description="Stored log bytes of one execution, both streams. End: `log_limit`."
    )
    disk_bytes: int = Field(
        _DEFAULT.disk_bytes, ge=MINIMA["disk_bytes"], description="Bytes of the workspace directory. End: `disk_limit`."
    )
    kill_grace_seconds: float = Field(
        _DEFAULT.kill_grace_seconds, ge=0, le=600, description="Seconds between TERM and KILL."
    )


class JobIn(Input):
    """Fields that a run and an attempt at a task have in common."""

    executor: ExecutorIn | None = Field(None, description="Null: that of the job file, else `claude-code`.")
    image: ImageText | None = Field(
        None,
        description="Container image; null: that of the job file, the project's, `relay-AGENT:latest` if the node has "
        "it, then the server's default.",
    )
    image_ids: ImageIds = Field(default_factory=list)
    profile: ShortText | None = Field(
        None,
        description="Session profile (`GET /v1/profiles`) that gives image and executor where this request does not.",
        examples=["review"],
    )
    env: Env = Field(
        default_factory=dict,
        max_length=200,
        description="Environment of every process of the workspace. Write-only. A plain string is secret where its "
        "name (KEY, TOKEN, SECRET, PASSWORD, …) or its shape (a known kind of key, a URL with a password, random "
        "letters) says so; the answer's `masked_env` names those that are. To decide it yourself: `{value, secret}`.",
        json_schema_extra={"additionalProperties": False},
    )
    secrets: Secrets = Field(
        default_factory=list,
        description="Secrets of the project: their names, or an object of environment variable and name. An execution "
        "gets the values that are stored when it starts.",
        examples=[["ANTHROPIC_API_KEY"], {"NPM_TOKEN": "registry_token"}],
    )
    secrets_in: list[SecretReader] = Field(
        ["coding_agent"],
        min_length=1,
        max_length=5,
        description="Which executions get them; to all others of the workspace their environment is closed.",
    )
    limits: LimitsIn = Field(default_factory=LimitsIn)
    agent_working_dir: AgentDir | None = None
    labels: Labels = Field(default_factory=dict)
    metadata: Metadata = Field(default_factory=dict)
    priority: Literal["low", "normal", "high"] = Field(
        "normal", description="A waiting run of a higher priority starts before all others that could start."
    )
    needs: list[Capability] = Field(
        default_factory=list,
        max_length=20,
        description="Capabilities that the node has to declare (`RELAY_NODE_CAPABILITIES`); until one does, the run "
        "waits.",
        examples=[["gpu"]],
    )
    user: int | None = Field(
        None, ge=0, le=MAX_UID, description="Uid of all processes; null: the image's USER, then the node's default."
    )
    auto_commit: bool = Field(
        default=True, description="Commit what a successful agent or cleanup script leaves in the work tree."
    )
    job_file: bool = Field(
        default=True,
        description="Read `relay.toml` of each repository's target branch for what this request leaves open.",
    )


class RunIn(JobIn):
    """Request for a run: clone the repositories, run setup scripts, let the agent work, run cleanup scripts."""

    repos: list[RepoIn] = Field(min_length=1, max_length=20)
    prompt: Prompt = Field(description="What the agent is asked for.", examples=["Add a test for the parser"])
    project_id: ShortText | None = Field(
        None,
        description="The project's name, its id, the first 4 or more characters of the id, or the id of something in "
        "the project: a task, workspace, run, session or execution. Null: a project of the first repository, made on "
        "first use.",
        examples=["shop", "fc90ec5e"],
    )
    title: ShortText | None = Field(None, description="Null: the prompt's first line.")


class RunOut(Output):
    """The new run; its first execution is queued."""

    run_id: UUID = Field(description="Ask `GET /v1/runs/{run_id}` whether the run is done and how it ended.")
    task_id: UUID
    workspace_id: UUID
    session_id: UUID
    execution_id: UUID = Field(description="The first execution (`clone`); the others follow as each ends.")
    project_id: UUID
    masked_env: list[str] = Field(description="Variables of `env` whose values are masked in logs, texts and diffs.")
    links: NewRunLinks


class RunChange(Input):
    """A merge patch (RFC 7396): what is left out stays, null removes a label or a value."""

    title: ShortText | None = Field(None, description="Null: it stays.")
    labels: (
        Annotated[dict[LabelName, LabelText | None], Field(json_schema_extra={"additionalProperties": False})] | None
    ) = Field(None, description="Null removes all.")
    metadata: dict[str, Any] | None = Field(
        None, description="Null removes all; a key with null removes that key.", examples=[{"ticket": "APP-13"}]
    )


class RerunIn(Input):
    """Request to repeat a run."""

    source: Literal["start", "failed_step"] = Field(
        "start",
        alias="from",
        description="`start`: everything again, a job in a new workspace. `failed_step`: the step that decided the "
        "conclusion and those that were to follow, in the same workspace.",
    )


class StepIn(NotesIn):
    """Request for a further step in a workspace. It runs after the steps that are running or queued there."""

    run_reason: Literal["setup_script", "coding_agent", "dev_server", "cleanup_script", "archive_script"]
    repo: ShortText | None = Field(None, description="Name of the repository; needed when the workspace has several.")
    script: Script | None = Field(None, description="sh script; null: the repository's own. Not for coding_agent.")
    prompt: Prompt | None = Field(None, description="Of coding_agent: what is asked for.")
    executor: ExecutorIn | None = Field(None, description="Of coding_agent; null: as in the latest session.")
    as_root: bool = Field(default=False, description="Of setup_script: run as root in the container.")


class DevServerIn(Input):
    """Request to start a dev server."""

    repo: ShortText | None = Field(None, description="Name of the repository; needed when the workspace has several.")
    script: Script | None = Field(None, description="sh script; null: the repository's dev_server_script.")
