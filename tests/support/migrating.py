"""Two Relays for tests of a migration: what the source has, and how the target shows it."""

from dataclasses import dataclass
from typing import Any
from uuid import UUID

import zstandard
from sqlalchemy import select, text

from relay_core.domain import execution as machine
from relay_core.domain.vocabulary import Reason
from relay_core.store.schema.tables import WorkspaceRepo
from tests.support.api_fixtures import Api, Worker

URL = "https://git.example.org/team/app.git"
HEAD = "a" * 40
PINNED = "b" * 40
PIECES = [("stdout", b"one\n"), ("stderr", b"\x00\xff raw"), ("stdout", b"two\n" * 50_000), ("stderr", b"end")]
PATCH = b"--- a/x\n+++ b/x\n"
BUNDLE = b"# v2 git bundle\n" + bytes(range(256)) * 9000
STAT = {"files": 2, "insertions": 3, "deletions": 1, "truncated": False, "step": {"files": 1, "insertions": 1}}


@dataclass(frozen=True)
class History:
    """Ids of what `history` made."""

    project: str
    task: str
    workspace: str
    agent: str
    merge: UUID


def history(api: Api, worker: Worker, name: str = "shop") -> History:
    """A project with a task whose attempt has ended, with logs, a recorded state, a turn, and a pull request."""
    repo = {"url": URL, "setup_script": "make deps"}
    project = made(api, "/v1/projects", {"name": name, "repos": [repo], "default_image": "node:22"})
    body = {"project_id": name, "title": "Mend the parser", "description": "It is broken", "start": {}}
    body["start"] = {"executor": {"name": "shell", "command": "cat"}}
    task = made(api, "/v1/tasks", body)
    started = task["started"]
    with api.database.begin() as connection:
        of_it = WorkspaceRepo.workspace_id == UUID(started["workspace_id"])
        repo_id = connection.scalars(select(WorkspaceRepo.repo_id).where(of_it)).one()
        values = "base_commit = :head, target_branch = 'main'"
        connection.execute(text(f"UPDATE workspace_repos SET {values}"), {"head": HEAD})
    clone = worker.claim(started["execution_id"])
    worker.finish(clone, repo_states={repo_id: {"after_head_commit": HEAD, "branch": "x", "dirty": False}})
    worker.ready(started["workspace_id"])
    setup = waiting(api, started["workspace_id"])
    worker.finish(worker.claim(setup))
    agent = worker.claim(waiting(api, started["workspace_id"]))
    worker.log(agent, PIECES)
    state = {
        "before_head_commit": HEAD,
        "after_head_commit": PINNED,
        "after_state": "recorded",
        "pinned_commit": PINNED,
        "patch": zstandard.compress(PATCH),
        "bundle": BUNDLE,
        "stat": STAT,
    }
    turn = {"agent_session_id": "of-this-node", "summary": "Mended", "usage": {"input_tokens": 12.0}}
    failed = machine.failed(Reason.EXIT_CODE, "the step exited with 3", 3)
    worker.finish(agent, failed, repo_states={repo_id: state}, turn=turn, log_ends=worker.log_ends(agent))
    return History(
        project["id"], task["id"], started["workspace_id"], str(agent.execution_id), pull_request(api, started, repo_id)
    )


def made(api: Api, path: str, body: dict[str, Any], who: str = "ann") -> dict[str, Any]:
    answer = api.post(path, body, who)
    assert answer.status_code in {200, 201, 202}, answer.text
    found: dict[str, Any] = answer.json()
    return found


def waiting(api: Api, workspace_id: str) -> str:
    """The queued execution of a workspace."""
    executions = api.get(f"/v1/workspaces/{workspace_id}/executions").json()["items"]
    return next(str(one["id"]) for one in executions if one["status"] == "queued")


def pull_request(api: Api, started: dict[str, Any], repo_id: UUID) -> UUID:
    with api.database.begin() as connection:
        statement = text(
            "INSERT INTO merges (id, workspace_id, repo_id, kind, method, target_branch_name, message, pr_number, pr_url, "
            "pr_status, pr_token_secret, source_commit, created_by) VALUES (gen_random_uuid(), :workspace, :repo, 'pr', "
            "'squash', 'main', 'Mend it', 7, 'https://git.example.org/pulls/7', 'open', 'GITHUB_TOKEN', :head, 'ann') "
            "RETURNING id"
        )
        values = {"workspace": started["workspace_id"], "repo": repo_id, "head": PINNED}
        found: UUID = connection.execute(statement, values).scalar_one()
        return found


def shown(api: Api, who: str = "ann") -> dict[str, Any]:
    """All that an owner has, without ids and without what depends on the Relay; lists in the order of creation."""
    projects = [
        {name: one[name] for name in ("name", "default_image", "default_agent_working_dir")}
        | {"repos": [(repo["url"], repo["setup_script"]) for repo in one["repos"]]}
        for one in listed(api, "/v1/projects", who)
    ]
    tasks = [
        {name: one[name] for name in ("title", "description", "status", "created_at")}
        for one in listed(api, "/v1/tasks", who)
    ]
    workspaces = [_workspace(api, one, who) for one in listed(api, "/v1/workspaces", who)]
    fields = ("kind", "method", "target_branch_name", "message", "source_commit", "status", "pr_info", "created_at")
    merges = [{name: one[name] for name in fields} for one in listed(api, "/v1/merges", who)]
    return {"projects": projects, "tasks": tasks, "workspaces": workspaces, "merges": merges}


def listed(api: Api, path: str, who: str = "ann") -> list[dict[str, Any]]:
    answer = api.get(path, who, params={"limit": 200})
    assert answer.status_code == 200, answer.text
    return list(reversed(answer.json()["items"]))


def _workspace(api: Api, workspace: dict[str, Any], who: str) -> dict[str, Any]:
    path = f"/v1/workspaces/{workspace['id']}"
    fields = ("branch", "name", "pinned", "created_at", "agent_working_dir")
    executions = api.get(f"{path}/executions", who).json()["items"]
    diff = api.get(f"{path}/diff", who).json()["items"]
    events = api.get(f"{path}/events", who).json()["items"]
    return {
        **{name: workspace[name] for name in fields},
        "executions": [_execution(api, one["id"], who) for one in executions],
        "diff": [(one["name"], one["base_commit"], one["stat"], one["bundle_bytes"]) for one in diff],
        "patch": api.get(f"{path}/diff", who, params={"format": "patch"}).content,
        "bundle": api.get(f"{path}/bundle", who).content,
        "events": [
            (one["kind"], one["sequence"], one["terminal"], one["created_at"])
            for one in events
            if one["kind"] != "workspace.imported"
        ],
        "runs": [
            (one["kind"], one["title"], one["status"], one["conclusion"], one["completed_at"])
            for one in listed(api, "/v1/runs", who)
        ],
    }


def _execution(api: Api, execution_id: str, who: str) -> dict[str, Any]:
    one = api.get(f"/v1/executions/{execution_id}", who).json()
    fields = ("run_reason", "status", "reason", "error_reason", "exit_code", "created_at", "started_at", "completed_at")
    logs = {
        stream: api.get(f"/v1/executions/{execution_id}/logs", who, params={"stream": stream}).content
        for stream in ("stdout", "stderr", "all")
    }
    states = [
        {name: state[name] for name in ("before_head_commit", "after_head_commit", "pinned_commit", "stat")}
        for state in one["repo_states"]
    ]
    turn = one["turn"] and {name: one["turn"][name] for name in ("prompt", "summary", "usage", "seen")}
    return {**{name: one[name] for name in fields}, "logs": logs, "states": states, "turn": turn}


def differing(one: Any, other: Any, path: str = "") -> list[str]:
    """The paths at which two values of `shown` differ; empty if they are equal."""
    if isinstance(one, dict) and isinstance(other, dict) and set(one) == set(other):
        return [found for key in one for found in differing(one[key], other[key], f"{path}.{key}")]
    if isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        pairs = enumerate(zip(one, other, strict=True))
        return [found for n, (a, b) in pairs for found in differing(a, b, f"{path}[{n}]")]
    return [] if one == other else [f"{path}: {str(one)[:300]} != {str(other)[:300]}"]
