"""Links to related resources, for the field `links` of answers."""

from uuid import UUID

from relay_api.schemas.links import (
    AttemptLinks,
    DiffLinks,
    ExecutionLinks,
    NewRunLinks,
    ProjectLinks,
    RepoLinks,
    RunLinks,
    SessionLinks,
    TaskLinks,
    WorkspaceLinks,
)
from relay_core.settings import Settings


class Links:
    """Makes links by name: paths, or absolute URLs if `RELAY_API_PUBLIC_URL` is set."""

    def __init__(self, settings: Settings) -> None:
        self._root = (settings.api_public_url or "").rstrip("/")
        self._base = self._root + "/v1"

    def new_run(self, run_id: UUID, workspace_id: UUID, execution_id: UUID, task_id: UUID) -> NewRunLinks:
        """Return the links of the answer to a new run; `execution` and `logs` belong to its first execution."""
        return NewRunLinks(
            run=f"{self._base}/runs/{run_id}",
            task=f"{self._base}/tasks/{task_id}",
            workspace=f"{self._base}/workspaces/{workspace_id}",
            sessions=f"{self._base}/workspaces/{workspace_id}/sessions",
            executions=f"{self._base}/workspaces/{workspace_id}/executions",
            events=f"{self._base}/workspaces/{workspace_id}/events/stream",
            execution=f"{self._base}/executions/{execution_id}",
            logs=f"{self._base}/executions/{execution_id}/logs/stream",
        )

    def run(self, run_id: UUID, workspace_id: UUID, agent_execution_id: UUID | None) -> RunLinks:
        """Return the links of a run."""
        own = f"{self._base}/runs/{run_id}"
        agent = f"{self._base}/executions/{agent_execution_id}" if agent_execution_id else None
        workspace = f"{self._base}/workspaces/{workspace_id}"
        return RunLinks(
            self=own,
            workspace=workspace,
            executions=f"{own}/executions",
            events=f"{own}/events",
            logs=f"{own}/logs",
            diff=f"{own}/diff",
            bundle=f"{own}/bundle",
            conversation=agent and f"{agent}/conversation",
            page=f"{self._root}/runs/{run_id}",
        )

    def execution(self, execution_id: UUID, workspace_id: UUID | None, run_id: UUID | None = None) -> ExecutionLinks:
        """Return the links of an execution; `run` is None if it is part of none."""
        own = f"{self._base}/executions/{execution_id}"
        return ExecutionLinks(
            self=own,
            run=f"{self._base}/runs/{run_id}" if run_id else None,
            workspace=f"{self._base}/workspaces/{workspace_id}" if workspace_id else None,
            logs=f"{own}/logs",
            log_stream=f"{own}/logs/stream",
            conversation=f"{own}/conversation",
            conversation_stream=f"{own}/conversation/stream",
            events=f"{own}/events",
            diff=f"{own}/diff",
            bundle=f"{own}/bundle",
            kill=f"{own}/kill",
            retry=f"{own}/retry",
        )

    def session(self, session_id: UUID, workspace_id: UUID) -> SessionLinks:
        """Return the links of a session."""
        own = f"{self._base}/sessions/{session_id}"
        workspace = f"{self._base}/workspaces/{workspace_id}"
        return SessionLinks(self=own, workspace=workspace, follow_ups=f"{own}/follow-ups")

    def workspace(self, workspace_id: UUID, task_id: UUID) -> WorkspaceLinks:
        """Return the links of a workspace."""
        own = f"{self._base}/workspaces/{workspace_id}"
        return WorkspaceLinks(
            self=own,
            task=f"{self._base}/tasks/{task_id}",
            executions=f"{own}/executions",
            sessions=f"{own}/sessions",
            events=f"{own}/events",
            event_stream=f"{own}/events/stream",
            diff=f"{own}/diff",
            bundle=f"{own}/bundle",
            dev_server=f"{own}/dev-server",
        )

    def project(self, project_id: UUID) -> ProjectLinks:
        """Return the links of a project."""
        base = f"{self._base}/projects/{project_id}"
        return ProjectLinks(
            self=base,
            secrets=f"{base}/secrets",
            workspaces=f"{self._base}/workspaces?project_id={project_id}",
        )

    def repo(self, repo_id: UUID) -> RepoLinks:
        """Return the links of a repository."""
        return RepoLinks(self=f"{self._base}/repos/{repo_id}")

    def task(self, task_id: UUID, project_id: UUID) -> TaskLinks:
        """Return the links of a task."""
        own = f"{self._base}/tasks/{task_id}"
        workspaces = f"{self._base}/workspaces?task_id={task_id}"
        project = f"{self._base}/projects/{project_id}"
        return TaskLinks(self=own, project=project, workspaces=workspaces, attempts=f"{own}/attempts")

    def attempt(self, workspace_id: UUID) -> AttemptLinks:
        """Return the links of an attempt."""
        own = f"{self._base}/workspaces/{workspace_id}"
        return AttemptLinks(workspace=own, diff=f"{own}/diff")

    def patch(self, path: str) -> DiffLinks:
        """Return the link to the patch of the diff at ``path``."""
        return DiffLinks(patch=f"{self._root}{path}?format=patch")
