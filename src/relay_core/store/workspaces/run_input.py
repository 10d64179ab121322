"""A run as `POST /v1/runs` and requests for attempts ask for it, and the ids of its rows: value types of `submit`."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar
from uuid import UUID

from relay_core.domain.agents.executors import ExecutorChoice
from relay_core.domain.job_settings import JobTerms
from relay_core.domain.limits import Limits
from relay_core.domain.vocabulary import Priority, RunReason
from relay_core.store.projects.task_changes import HeldTask, NewTask
from relay_core.store.workspaces.fork import Fork
from relay_core.store.workspaces.repo_input import RepoInput


@dataclass(frozen=True)
class EnvValue:
    """The value of an environment variable; if it is secret, logs mask it."""

    value: str
    secret: bool = True


E = TypeVar("E", ExecutorChoice, Mapping[str, Any])


@dataclass(frozen=True)
class RunInput(Generic[E]):
    """A run as `POST /v1/runs` asks for it, validated."""

    repos: Sequence[RepoInput]
    prompt: str
    executor: E
    """The executor, complete (`ExecutorChoice`) or as the fields of the request.

    `start_run` completes the fields from a profile.
    """
    limits: Limits
    image: str | None = None
    env: Mapping[str, EnvValue] = field(default_factory=dict)
    secrets: Mapping[str, str] = field(default_factory=dict)
    """Names of secrets of the project, by name of the environment variable that gets the value."""
    secrets_in: Sequence[RunReason] = (RunReason.CODING_AGENT,)
    """Run reasons of the executions that get the secrets; others do not see them."""
    project_id: UUID | None = None
    title: str | None = None
    user: int | None = None
    """User id of the workspace's processes; None: the user of the image, or the node's default."""
    auto_commit: bool = True
    labels: Mapping[str, str] = field(default_factory=dict)
    metadata: Mapping[str, Any] = field(default_factory=dict)
    priority: Priority = Priority.NORMAL
    needs: Collection[str] = ()
    """Capabilities that the node of the workspace has to declare."""
    named_limits: Collection[str] = ()
    """Names of the limits that the request gives; a job file may give the others."""
    job_file: bool = True
    """Whether job files of the repositories are read."""
    maxima: Mapping[str, float] = field(default_factory=dict)
    """Largest values by name of the limit that a job file may ask for."""
    image_ids: Sequence[UUID] = ()
    """Uploaded images that become those of the new task."""
    profile: str | None = None
    """Name of the session profile of the request."""
    from_profile: Collection[str] = ()
    """`image` and `executor`, where the session profile gave them."""
    job_terms: JobTerms | None = None
    """The settings that the run leaves to job files; `start_run` fills it in. None: nothing."""
    agent_working_dir: str | None = None
    """Directory of the agent, relative to that of the clones (`domain.working_dir`); None: the project's, else the
    working directory of the only repo, else that of the clones.
    """
    task: HeldTask | NewTask | None = None
    """The task that the run is an attempt at, or a new one; None: a new one with title and prompt of the run."""
    fork: Fork | None = None
    """The workspace from whose recorded states the new one starts, as `repos` say; None: it starts from the remotes."""
    sources: Mapping[str, str] = field(default_factory=dict)
    """Where values came from (`domain.job_settings`); `start_run` fills it in."""


@dataclass(frozen=True)
class SubmittedRun:
    """Ids of the rows that make up a new run."""

    project_id: UUID
    task_id: UUID
    workspace_id: UUID
    session_id: UUID
    run_id: UUID
    execution_id: UUID
    """The first execution of the run, its clone."""
    masked_env: Sequence[str]
    """Names of the environment variables whose values are masked in logs."""


@dataclass(frozen=True)
class RunTerms:
    """The values of a run's rows that follow from its project and the settings of the server."""

    image: str
    image_source: str
    working_dir: str | None
    """Directory of the agent, as far as it is known before job files are read."""
    working_dir_source: str | None
    pool: str
    branch_prefix: str
