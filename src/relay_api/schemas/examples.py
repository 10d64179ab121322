"""Examples of bodies and answers for the OpenAPI document, by the name of their schema."""

from typing import Any

_RUN = "4f1c2a7e-8a0b-4d43-9a51-6f0c1b2d3e4f"
_WORKSPACE = "fe8a69c8-0a5c-4c1f-8f0e-2b7d6e1f3a4c"
_TASK = "2d03d844-5b1e-4f4b-8d8e-90b3a5c1d2e3"
_EXECUTION = "81cd617e-d1fb-4b6a-9f0a-5c1d4c8e9f0a"

EXAMPLES: dict[str, Any] = {
    "RunIn": {
        "repos": [{"url": "https://git.example.org/team/app.git", "target_branch": "main"}],
        "prompt": "Add a test for the parser",
        "executor": {"name": "shell", "command": "cat > NOTES.md"},
    },
    "RunOut": {
        "run_id": _RUN,
        "task_id": _TASK,
        "workspace_id": _WORKSPACE,
        "session_id": "3c2af592-1f7c-4a30-8b27-7d6e5f4a3b2c",
        "execution_id": _EXECUTION,
        "project_id": "fc90ec5e-2c4d-4b8a-9e1f-0a1b2c3d4e5f",
        "masked_env": [],
        "links": {
            "run": f"/v1/runs/{_RUN}",
            "task": f"/v1/tasks/{_TASK}",
            "workspace": f"/v1/workspaces/{_WORKSPACE}",
            "sessions": f"/v1/workspaces/{_WORKSPACE}/sessions",
            "executions": f"/v1/workspaces/{_WORKSPACE}/executions",
            "events": f"/v1/workspaces/{_WORKSPACE}/events/stream",
            "execution": f"/v1/executions/{_EXECUTION}",
            "logs": f"/v1/executions/{_EXECUTION}/logs/stream",
        },
    },
    "StepIn": {"run_reason": "setup_script", "script": "make deps"},
    "DevServerIn": {"repo": "app"},
    "FollowUpIn": {"prompt": "Now document the option"},
    "RunChange": {"title": "Parser test", "labels": {"team": "core"}},
    "RerunIn": {"from": "failed_step"},
    "RetryIn": {"run_agent_again": True},
    "ProjectIn": {
        "name": "shop",
        "default_image": "relay-claude-code:latest",
        "repos": [{"url": "https://git.example.org/team/app.git", "setup_script": "make deps"}],
    },
    "SecretIn": {"value": "a value that Relay never shows again"},
    "TokenIn": {"name": "ci", "owner": "ann", "scopes": ["runs:read", "runs:write"], "expires_in_seconds": 86400},
    "Problem": {
        "type": "about:blank",
        "title": "Unprocessable Entity",
        "status": 422,
        "code": "validation_failed",
        "detail": 'executor: must be an object, for example {"name": "codex"}',
        "instance": "/v1/runs",
        "errors": [
            {
                "field": "executor",
                "message": 'must be an object, for example {"name": "codex"}',
                "code": "model_type",
            }
        ],
    },
}
