"""Schemas of the field `links` of answers, one for each resource."""

from pydantic import ConfigDict, Field

from relay_api.schemas.common import Output


class LinksOut(Output):
    """Paths of related resources; absolute URLs where `RELAY_API_PUBLIC_URL` is set."""

    model_config = ConfigDict(frozen=True)


class NewRunLinks(LinksOut):
    """Links of the answer to a new run. They are absolute URLs where `RELAY_API_PUBLIC_URL` is set."""

    run: str
    task: str
    workspace: str
    sessions: str
    executions: str = Field(description="All executions of the workspace.")
    events: str = Field(description="Stream of the workspace's events.")
    execution: str = Field(description="The first execution.")
    logs: str = Field(description="Stream of the first execution's log.")


class RunLinks(LinksOut):
    """Links of a run. They are absolute URLs where `RELAY_API_PUBLIC_URL` is set."""

    self: str
    workspace: str
    executions: str
    events: str
    logs: str
    diff: str = Field(description="What the steps of the run changed.")
    bundle: str
    conversation: str | None = Field(description="Of the agent's latest execution; null while there is none.")
    page: str = Field(description="The run for people.")


class ExecutionLinks(LinksOut):
    """Links of an execution. They are absolute URLs where `RELAY_API_PUBLIC_URL` is set."""

    self: str
    run: str | None = Field(description="Null for dev servers and archive scripts, which belong to no run.")
    workspace: str | None = Field(description="Null for the clone of a project.")
    logs: str
    log_stream: str
    conversation: str
    conversation_stream: str
    events: str
    diff: str
    bundle: str
    kill: str = Field(description="To be sent a POST.")
    retry: str = Field(description="To be sent a POST.")


class SessionLinks(LinksOut):
    """Links of a session. They are absolute URLs where `RELAY_API_PUBLIC_URL` is set."""

    self: str
    workspace: str
    follow_ups: str = Field(description="To be sent a POST.")


class WorkspaceLinks(LinksOut):
    """Links of a workspace. They are absolute URLs where `RELAY_API_PUBLIC_URL` is set."""

    self: str
    task: str
    executions: str
    sessions: str
    events: str
    event_stream: str
    diff: str
    bundle: str
    dev_server: str = Field(description="To be sent a POST or a DELETE.")


class ProjectLinks(LinksOut):
    """Links of a project. They are absolute URLs where `RELAY_API_PUBLIC_URL` is set."""

    self: str
    secrets: str
    workspaces: str


class RepoLinks(LinksOut):
    """Links of a repository. They are absolute URLs where `RELAY_API_PUBLIC_URL` is set."""

    self: str


class TaskLinks(LinksOut):
    """Links of a task. They are absolute URLs where `RELAY_API_PUBLIC_URL` is set."""

    self: str
    project: str
    workspaces: str
    attempts: str = Field(description="The workspaces side by side, with what they took and changed.")


class AttemptLinks(LinksOut):
    """Links of an attempt at a task. They are absolute URLs where `RELAY_API_PUBLIC_URL` is set."""

    workspace: str
    diff: str


class DiffLinks(LinksOut):
    """Links of a diff. They are absolute URLs where `RELAY_API_PUBLIC_URL` is set."""

    patch: str
