"""One request for each list, filter and detail that the API and its page can answer."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import urlencode

from sqlalchemy import text

from relay_core.store import page_sessions, tokens
from relay_core.store.transaction import Database
from relay_core.store.views import paging

FAR = {"cursor": "{deep}"}
"""The page that begins in the middle of the rows by age."""
REQUESTS: Mapping[str, Sequence[Mapping[str, str]]] = {
    "/v1/runs": (
        {},
        FAR,
        {"status": "running"},
        {"status": "queued"},
        {"status": "completed"},
        {"conclusion": "success"},
        {"conclusion": "failure"},
        {"conclusion": "lost"},
        {"conclusion": "timed_out"},
        {"project": "{project_name}"},
        {"project": "{project}"},
        {"project": "{project_name}", **FAR},
        {"repo": "app"},
        {"repo": "tool"},
        {"repo": "https://git.example.org/team/api.git"},
        {"repo": "none"},
        {"label": "team=web"},
        {"label": "nightly=yes"},
        {"label": "ticket=500"},
        {"label": "team=none"},
        {"since": "{hour}"},
        {"since": "{hour}", **FAR},
        {"q": "login"},
        {"q": "Fix the"},
        {"q": "the API 500"},
        {"q": "nowhere"},
        {"q": "{{"},
    ),
    "/v1/runs/{run_id}": ({},),
    "/v1/runs/{run_id}/diff": ({},),
    "/v1/runs/{run_id}/executions": ({}, FAR),
    "/v1/runs/{run_id}/events": ({}, {"after": "3"}),
    "/v1/runs/{run_id}/logs": ({},),
    "/v1/executions": (
        {},
        FAR,
        {"status": "running"},
        {"status": "queued"},
        {"status": "killed"},
        {"status": "failed", **FAR},
        {"without_workspace": "true"},
        {"without_workspace": "true", "status": "running"},
        {"run_reason": "coding_agent"},
        {"run_reason": "dev_server"},
        {"run_reason": "archive_script"},
        {"status": "failed", "run_reason": "cleanup_script"},
        {"workspace_id": "{workspace_id}"},
    ),
    "/v1/executions/{execution_id}": ({},),
    "/v1/executions/{execution_id}/events": ({},),
    "/v1/executions/{execution_id}/conversation": ({}, {"after": "3"}),
    "/v1/executions/{execution_id}/logs": ({},),
    "/v1/executions/{execution_id}/diff": ({},),
    "/v1/workspaces": (
        {},
        FAR,
        {"state": "running"},
        {"state": "starting"},
        {"state": "failed"},
        {"state": "stopped"},
        {"archived": "true"},
        {"archived": "false"},
        {"archived": "false", **FAR},
        {"project_id": "{project_name}"},
        {"project_id": "{project}"},
        {"task_id": "{task_id}"},
    ),
    "/v1/workspaces/{workspace_id}": ({},),
    "/v1/workspaces/{workspace_id}/executions": ({}, FAR),
    "/v1/workspaces/{workspace_id}/sessions": ({},),
    "/v1/workspaces/{workspace_id}/events": ({}, {"after": "3"}),
    "/v1/workspaces/{workspace_id}/diff": ({},),
    "/v1/workspaces/{workspace_id}/diff/files": ({},),
    "/v1/workspaces/{workspace_id}/git-state": ({},),
    "/v1/quarantine": ({}, FAR, {"project_id": "{project}"}),
    "/v1/workspaces/{workspace_id}/expiry": ({},),
    "/v1/workspaces/{workspace_id}/kept": ({},),
    "/v1/workspaces/{workspace_id}/delegations": ({}, FAR, {"state": "active"}),
    "/v1/workspaces/{workspace_id}/scope": ({},),
    "/v1/delegations": ({}, FAR, {"state": "active"}),
    "/v1/sessions/{session_id}": ({},),
    "/v1/events": ({}, {"after": "{newest}"}),
    "/v1/projects": ({}, FAR, {"default_for": "https://git.example.org/team/app.git"}, {"state": "cloning"}),
    "/v1/repos": (
        {},
        FAR,
        {"url": "https://git.example.org/team/app.git"},
        {"name": "app"},
        {"project_id": "{project}"},
    ),
    "/v1/repos/{repo_id}": ({},),
    "/v1/projects/{project_id}": ({},),
    "/v1/projects/{project_id}/secrets": ({},),
    "/v1/projects/{project_id}/files": ({},),
    "/v1/projects/{project_id}/agents": ({},),
    "/v1/projects/{project_id}/events": ({}, {"after": "{newest}"}),
    "/v1/operations/{operation_id}/events": ({},),
    "/v1/tasks": (
        {},
        FAR,
        {"status": "inprogress"},
        {"status": "done"},
        {"project_id": "{project_name}"},
        {"project_id": "{project}"},
        {"parent_workspace_id": "{workspace_id}"},
    ),
    "/v1/tasks/{task_id}": ({},),
    "/v1/images": ({}, FAR, {"task_id": "{task_id}"}),
    "/v1/merges": ({}, FAR, {"status": "open"}, {"workspace_id": "{workspace_id}"}, {"project_id": "{project}"}),
    "/v1/tasks/{task_id}/attempts": ({},),
    "/v1/agents": ({}, {"project_id": "{project_name}"}),
    "/v1/mirrors": ({}, FAR, {"project_id": "{project}"}, {"node_id": "node-1"}),
    "/v1/nodes": ({},),
    "/v1/nodes/{node_id}": ({},),
    "/metrics": ({},),
    "/": ({}, FAR, {"q": "login"}, {"q": "nowhere"}, {"state": "running"}, {"label": "team=web"}, {"repo": "tool"}),
    "/fleet": ({},),
    "/tasks": ({}, {"status": "inreview"}),
    "/tasks/{task_id}": ({},),
    "/runs/{run_id}": ({},),
    "/runs/{run_id}/head": ({},),
    "/runs/{run_id}/steps": ({},),
    "/runs/{run_id}/conversation": ({},),
    "/runs/{run_id}/changes": ({}, {"whole": "1"}),
}
"""Query parameters by path. Words in braces stand for ids and times of `places`."""
NO_ROWS_OF_RUNS = {
    "/healthz",
    "/v1/directories",
    "/v1/delegations/{delegation_id}",
    "/v1/images/{image_id}",
    "/v1/images/{image_id}/content",
    "/v1/limits",
    "/v1/pools",
    "/v1/merges/{merge_id}",
    "/v1/migrations",
    "/v1/migrations/installation",
    "/v1/migrations/parts/{sha256}",
    "/v1/migrations/{migration_id}",
    "/v1/migrations/{migration_id}/document",
    "/v1/migrations/{migration_id}/parts",
    "/v1/mirrors",
    "/v1/nodes/{node_id}/events",
    "/v1/profiles",
    "/v1/profiles/{name}",
    "/v1/scratch",
    "/v1/scratch/{scratch_type}/{scratch_id}",
    "/v1/tags",
    "/v1/tags/{tag}",
    "/v1/tokens",
}
"""Paths that read nothing that grows with the number of runs."""


@dataclass(frozen=True)
class Places:
    """Texts for the words in braces of `REQUESTS`, by word."""

    texts: Mapping[str, str]

    def requests(self) -> Iterator[tuple[str, str]]:
        """Yield a name and the address of each request."""
        for path, queries in REQUESTS.items():
            for query in queries:
                shown = "&".join(f"{name}={value}" for name, value in query.items())
                sent = urlencode({name: self._filled(value) for name, value in query.items()})
                yield f"{path}{'?' * bool(query)}{shown}", f"{self._filled(path)}{'?' * bool(query)}{sent}"

    def _filled(self, template: str) -> str:
        for word, value in self.texts.items():
            template = template.replace(f"{{{word}}}", value)
        return template


def places(database: Database, owner: str) -> Places:
    """Return ids of a run of an owner that is of middle age, and what belongs to it."""
    with database.connect() as connection:
        found = text(
            """
            SELECT r.id AS run_id, e.id AS execution_id, e.id AS operation_id, r.workspace_id, r.session_id, r.project_id,
              r.project_id AS project, p.name AS project_name, w.task_id, w.node_id, r.created_at,
              (SELECT x.repo_id FROM workspace_repos x WHERE x.workspace_id = w.id LIMIT 1) AS repo_id
            FROM (
              SELECT * FROM runs WHERE owner = :owner AND status = 'completed' ORDER BY created_at
              OFFSET (SELECT count(*) / 2 FROM runs n WHERE n.owner = :owner AND n.status = 'completed') LIMIT 1
            ) r JOIN workspaces w ON w.id = r.workspace_id JOIN projects p ON p.id = r.project_id
            JOIN execution_processes e ON e.run_id = r.id
            ORDER BY e.created_at DESC LIMIT 1
            """
        )
        row = dict(connection.execute(found, {"owner": owner}).mappings().one())
        hour = connection.scalar(text("SELECT to_char(now() - interval '1 hour', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"')"))
        newest = connection.scalar(text("SELECT max(position) - 100 FROM events"))
    deep = paging.encode(paging.Position(row.pop("created_at"), row["run_id"]))
    return Places(
        {**{word: str(value) for word, value in row.items()}, "deep": deep, "hour": hour, "newest": str(newest)}
    )


def signed_in(database: Database, owner: str, scopes: Sequence[str], port: int = 80) -> dict[str, str]:
    """Return the headers of requests that an owner sends to the API or to the page, which is served at a port."""
    with database.begin() as connection:
        token = tokens.create(connection, name="reading", owner=owner, scopes=scopes)[1]
        session = page_sessions.sign_in_by_token(connection, token)
    return {"Authorization": f"Bearer {token}", "Cookie": f"relay-session-{port}={session}"}
