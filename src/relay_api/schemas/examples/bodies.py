"""Examples of bodies, and of an error."""

from typing import Any

BODIES: dict[str, Any] = {
    "RunIn": {
        "repos": [{"url": "https://git.example.org/team/app.git", "target_branch": "main"}],
        "prompt": "Add a test for the parser",
        "executor": {"name": "shell", "command": "cat > NOTES.md"},
    },
    "StepIn": {"run_reason": "setup_script", "script": "make deps"},
    "DevServerIn": {"repo": "app"},
    "FollowUpIn": {"prompt": "Now document the option"},
    "TurnChange": {"seen": True},
    "RunChange": {"title": "Parser test", "labels": {"team": "core"}},
    "RerunIn": {"from": "failed_step"},
    "PushIn": {"branch": "parser-test"},
    "ResetIn": {"before_execution": "5e70b1c2"},
    "MergeIn": {"method": "squash", "message": "Add a test for the parser"},
    "MergePreviewIn": {"method": "squash"},
    "RebaseIn": {"target_branch": "main"},
    "RetryIn": {"run_agent_again": True},
    "WorkspaceIn": {"project_id": "shop", "title": "Try the new parser"},
    "ProjectIn": {
        "name": "shop",
        "default_image": "relay-claude-code:latest",
        "repos": [{"url": "https://git.example.org/team/app.git", "setup_script": "make deps"}],
        "first_workspace": {"title": "Mend the parser"},
    },
    "RepoCreateIn": {"url": "https://git.example.org/team/app.git", "setup_script": "make deps"},
    "RepoChange": {"dev_server_script": "make serve", "default_target_branch": "main"},
    "ProjectChange": {
        "default_image": "node:22",
        "default_agent_working_dir": "app/services/api",
        "idle_archive_hours": 168,
    },
    "ProjectRepoIn": {"url": "https://git.example.org/team/app.git", "setup_script": "make deps"},
    "ProjectRepoChange": {"setup_script": "make deps", "parallel_setup_script": True},
    "TaskIn": {
        "project_id": "shop",
        "title": "Mend the parser",
        "description": "It fails on empty files.",
        "start": {"executor": {"name": "codex"}},
    },
    "WorkspaceChange": {"name": "Second try", "pinned": True},
    "TaskChange": {"status": "done"},
    "AttemptIn": {"executor": {"name": "codex"}, "repos": [{"repo": "app", "target_branch": "main"}]},
    "StoredFileIn": {"repo": "app", "path": ".env", "content": "REJfSE9TVD1sb2NhbGhvc3QK"},
    "SecretIn": {"value": "a value that Relay never shows again"},
    "RunLimitIn": {"max_runs": 4},
    "AttachIn": {"pool": "default", "protocol_version": "1.1", "capabilities": {"declares": ["gpu"], "cpus": 8}},
    "HeartbeatIn": {"health": "degraded", "detail": "disk_pressure"},
    "CapabilitiesIn": {
        "capabilities": {"declares": ["gpu", "kvm"]},
        "health_change": {"state": "degraded", "reason": "a disk is being replaced"},
    },
    "DetachIn": {"reason": "moves to another pool"},
    "FloorIn": {"min_protocol_version": "1.1"},
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
