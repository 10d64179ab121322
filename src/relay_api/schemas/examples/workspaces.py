"""Examples of answers about workspaces, projects and tasks."""

from typing import Any

from relay_api.schemas.examples import ids

_WORKSPACE: dict[str, Any] = {
    "id": ids.WORKSPACE,
    "project_id": ids.PROJECT,
    "task_id": ids.TASK,
    "name": ids.PROMPT,
    "branch": ids.BRANCH,
    "state": "running",
    "requested_state": None,
    "error_reason": None,
    "archived": False,
    "pinned": False,
    "node_id": ids.NODE,
    "pool": "default",
    "image": "relay-claude-code:latest",
    "image_digest": f"sha256:{ids.SHA256}",
    "container": "relay-fe8a69c8",
    "limits": {
        "memory_bytes": 4294967296,
        "cpus": 2.0,
        "pids": 2048,
        "nofile": 65536,
        "timeout_seconds": 3600,
        "no_output_seconds": 0,
        "log_bytes": 104857600,
        "disk_bytes": 10737418240,
        "kill_grace_seconds": 5.0,
    },
    "sources": {"image": "agent", "executor": "request", "limits.memory_bytes": "relay.toml"},
    "masked_env": ["ANTHROPIC_API_KEY"],
    "setup_completed_at": ids.AGENT_CREATED,
    "event_cursor": 8,
    "created_by": "ann",
    "created_at": ids.CREATED,
    "updated_at": ids.COMPLETED,
    "task": {"id": ids.TASK, "title": ids.PROMPT, "status": "inreview"},
    "repos": [
        {
            "repo_id": ids.REPO,
            "name": "app",
            "url": ids.URL,
            "target_branch": "main",
            "ref": None,
            "working_dir": None,
            "base_commit": ids.BASE_COMMIT,
        }
    ],
    "dev_server": None,
    "links": {
        "self": f"/v1/workspaces/{ids.WORKSPACE}",
        "task": f"/v1/tasks/{ids.TASK}",
        "executions": f"/v1/workspaces/{ids.WORKSPACE}/executions",
        "sessions": f"/v1/workspaces/{ids.WORKSPACE}/sessions",
        "events": f"/v1/workspaces/{ids.WORKSPACE}/events",
        "event_stream": f"/v1/workspaces/{ids.WORKSPACE}/events/stream",
        "diff": f"/v1/workspaces/{ids.WORKSPACE}/diff",
        "bundle": f"/v1/workspaces/{ids.WORKSPACE}/bundle",
        "dev_server": f"/v1/workspaces/{ids.WORKSPACE}/dev-server",
    },
}
_PROJECT: dict[str, Any] = {
    "id": ids.PROJECT,
    "name": "app",
    "default_image": None,
    "default_for": ids.URL,
    "state": "ready",
    "clone_error": None,
    "created_by": "ann",
    "created_at": ids.CREATED,
    "updated_at": ids.CREATED,
    "repos": [
        {
            "repo_id": ids.REPO,
            "name": "app",
            "url": ids.URL,
            "setup_script": "make deps",
            "cleanup_script": None,
            "parallel_setup_script": False,
            "state": "ready",
            "clone_error": None,
        }
    ],
    "links": {
        "self": f"/v1/projects/{ids.PROJECT}",
        "secrets": f"/v1/projects/{ids.PROJECT}/secrets",
        "workspaces": f"/v1/workspaces?project_id={ids.PROJECT}",
    },
}
_TASK: dict[str, Any] = {
    "id": ids.TASK,
    "project_id": ids.PROJECT,
    "title": ids.PROMPT,
    "description": None,
    "status": "inreview",
    "parent_workspace_id": None,
    "workspace_ids": [ids.WORKSPACE],
    "usage": ids.USAGE,
    "created_by": "ann",
    "created_at": ids.CREATED,
    "updated_at": ids.COMPLETED,
    "links": {
        "self": f"/v1/tasks/{ids.TASK}",
        "project": f"/v1/projects/{ids.PROJECT}",
        "workspaces": f"/v1/workspaces?task_id={ids.TASK}",
    },
}
_MIRROR: dict[str, Any] = {
    "id": ids.MIRROR,
    "node_id": ids.NODE,
    "project_id": ids.PROJECT,
    "project": "app",
    "credential": "node",
    "remote": ids.URL,
    "state": "ready",
    "error": None,
    "fetched_at": ids.CREATED,
    "workspaces": 0,
    "purge_requested_at": ids.COMPLETED,
    "purge_waits_for": "node",
    "created_at": ids.CREATED,
    "updated_at": ids.CREATED,
}

WORKSPACES: dict[str, Any] = {
    "WorkspaceOut": _WORKSPACE,
    "WorkspacePage": {"items": [_WORKSPACE], "next_cursor": None},
    "Deleted": {"id": ids.WORKSPACE, "killed": 1},
    "ProjectOut": _PROJECT,
    "ProjectPage": {"items": [_PROJECT], "next_cursor": None},
    "MirrorOut": _MIRROR,
    "MirrorPage": {"items": [_MIRROR], "next_cursor": None},
    "TaskOut": _TASK,
    "TaskPage": {"items": [_TASK], "next_cursor": None},
}
