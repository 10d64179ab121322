"""Examples of answers about runs."""

from typing import Any

from relay_api.schemas.examples import ids

_RUN: dict[str, Any] = {
    "id": ids.RUN,
    "kind": "job",
    "title": ids.PROMPT,
    "labels": {"team": "core"},
    "metadata": {"ticket": "APP-12"},
    "priority": "normal",
    "needs": [],
    "status": "completed",
    "conclusion": "success",
    "reason": None,
    "message": None,
    "advice": None,
    "exit_code": 0,
    "failed_step": None,
    "current_step": None,
    "waits_for": None,
    "queue": None,
    "project": {"id": ids.PROJECT, "name": "app"},
    "task_id": ids.TASK,
    "workspace_id": ids.WORKSPACE,
    "session_id": ids.SESSION,
    "agent_execution_id": ids.AGENT,
    "executor": "claude-code",
    "repos": [
        {
            "name": "app",
            "url": ids.URL,
            "target_branch": "main",
            "ref": None,
            "base_commit": ids.BASE_COMMIT,
            "stat": {"files": 2, "insertions": 41, "deletions": 3},
        }
    ],
    "sources": [
        {"repo": "app", "url": ids.URL, "ref": None, "target_branch": "main", "commit": ids.BASE_COMMIT},
    ],
    "branch": ids.BRANCH,
    "pull_request": None,
    "stat": {"files": 2, "insertions": 41, "deletions": 3},
    "usage": ids.USAGE,
    "timings": {"queue_seconds": 1.25, "start_seconds": 8.5, "run_seconds": 141.25},
    "created_by": "ann",
    "created_at": ids.CREATED,
    "started_at": ids.STARTED,
    "completed_at": ids.COMPLETED,
    "rerun_of": None,
    "node_id": ids.NODE,
    "image": "relay-claude-code:latest",
    "links": {
        "self": f"/v1/runs/{ids.RUN}",
        "workspace": f"/v1/workspaces/{ids.WORKSPACE}",
        "executions": f"/v1/runs/{ids.RUN}/executions",
        "events": f"/v1/runs/{ids.RUN}/events",
        "logs": f"/v1/runs/{ids.RUN}/logs",
        "diff": f"/v1/runs/{ids.RUN}/diff",
        "bundle": f"/v1/runs/{ids.RUN}/bundle",
        "conversation": f"/v1/executions/{ids.AGENT}/conversation",
        "page": f"/runs/{ids.RUN}",
    },
}

RUNS: dict[str, Any] = {
    "RunOut": {
        "run_id": ids.RUN,
        "task_id": ids.TASK,
        "workspace_id": ids.WORKSPACE,
        "session_id": ids.SESSION,
        "execution_id": ids.CLONE,
        "project_id": ids.PROJECT,
        "masked_env": [],
        "links": {
            "run": f"/v1/runs/{ids.RUN}",
            "task": f"/v1/tasks/{ids.TASK}",
            "workspace": f"/v1/workspaces/{ids.WORKSPACE}",
            "sessions": f"/v1/workspaces/{ids.WORKSPACE}/sessions",
            "executions": f"/v1/workspaces/{ids.WORKSPACE}/executions",
            "events": f"/v1/workspaces/{ids.WORKSPACE}/events/stream",
            "execution": f"/v1/executions/{ids.CLONE}",
            "logs": f"/v1/executions/{ids.CLONE}/logs/stream",
        },
    },
    "RunDetail": _RUN,
    "RunPage": {"items": [_RUN], "next_cursor": None},
}
