"""Examples of answers about agents, secrets, tokens, nodes and health."""

from typing import Any

from relay_api.schemas.examples import ids

_TOKEN = {
    "id": "7a1e5c0d-2b4f-4e6a-8d9c-3f5b7a9c1e2d",
    "name": "ci",
    "owner": "ann",
    "scopes": ["runs:read", "runs:write"],
    "created_at": ids.CREATED,
    "expires_at": "2026-02-01T08:00:00Z",
    "revoked_at": None,
}
STORED_FILE = {
    "id": "5c8e1f3a-4b7d-4c2e-9a6f-0d1b3c5e7f92",
    "repo_id": ids.REPO,
    "repo": "app",
    "path": ".env",
    "size_bytes": 18,
    "executable": False,
    "created_by": "ann",
    "created_at": ids.CREATED,
    "updated_at": ids.CREATED,
}
_LIMIT: dict[str, Any] = {"kind": "owner", "name": "ann", "max_runs": 4, "project_name": None}
_ATTACHMENT: dict[str, Any] = {
    "id": "3c9b2f10-7d5e-4a86-9f21-6b8d0e4a1c57",
    "node_id": ids.NODE,
    "pool": "default",
    "state": "online",
    "state_reason": None,
    "protocol_version": "1.1",
    "read_only": False,
    "attached_at": ids.CREATED,
    "updated_at": ids.CREATED,
}
_FLOOR: dict[str, Any] = {"pool": "default", "min_protocol_version": "1.1"}
_NODE: dict[str, Any] = {
    "node_id": ids.NODE,
    "pool": "default",
    "reported_health": "ok",
    "self_report": "online",
    "state": "online",
    "read_only": False,
    "attachments": [_ATTACHMENT],
    "liveness": "online",
    "last_heartbeat_at": ids.COMPLETED,
    "age_seconds": 3.2,
    "epoch": 0,
    "client_version": "0.1.0",
    "capabilities": {
        "engine_version": "28.5.1",
        "cgroup_version": "2",
        "cpus": 8,
        "memory_bytes": 33554432000,
        "images": ["relay-base:latest", "relay-claude-code:latest"],
        "slots_per_worker": 4,
        "default_image": "relay-base:latest",
        "git_image": "relay-git:latest",
        "workers": [f"worker@{ids.NODE}"],
    },
    "declares": ["gpu"],
    "draining": False,
    "revoked_at": None,
    "max_workspaces": 8,
    "memory_bytes": 30198988800,
    "promised": {"workspaces": 1, "memory_bytes": 4294967296},
    "workers": [{"worker": f"worker@{ids.NODE}", "used": 1, "slots": 4}],
    "closed": None,
    "created_at": ids.CREATED,
}
_AGENT = {
    "name": "claude-code",
    "summary": "Claude Code",
    "program": "claude",
    "can_resume": True,
    "can_rewind": True,
    "can_see_images": True,
    "permission_modes": ["auto", "plan"],
    "reasoning_efforts": [],
    "variants": [
        {
            "name": "default",
            "command": None,
            "model": "opus",
            "reasoning_effort": None,
            "permission_mode": "auto",
            "args": [],
            "env": [],
        }
    ],
}

ADMINISTRATION: dict[str, Any] = {
    "AgentList": {"items": [_AGENT]},
    "ProfilesOut": {"project_id": ids.PROJECT, "profiles": {"claude-code": {"default": {"model": "opus"}}}},
    "StoredFileOut": STORED_FILE,
    "StoredFileList": {"items": [STORED_FILE]},
    "SecretList": {
        "items": [
            {"name": "NPM_TOKEN", "created_by": "ann", "created_at": ids.CREATED, "updated_at": ids.CREATED},
        ]
    },
    "NewToken": {**_TOKEN, "token": "relay_…"},
    "TokenList": {"items": [_TOKEN]},
    "NodeOut": _NODE,
    "AttachOut": _ATTACHMENT,
    "CapabilitiesOut": {"node_id": ids.NODE, "state": "online", "updated_at": ids.CREATED},
    "FloorOut": _FLOOR,
    "FloorList": {"items": [_FLOOR]},
    "RunLimitOut": _LIMIT,
    "RunLimitList": {"items": [_LIMIT]},
    "NodeList": {"items": [_NODE]},
    "Health": {
        "status": "ok",
        "checks": {"database": {"ok": True, "error": None}, "redis": {"ok": True, "error": None}},
        "version": "0.1.0",
    },
    "SignInCodeOut": {
        "code": "Q2h5c2FsaXM",
        "url": "http://127.0.0.1:8700/sign-in#Q2h5c2FsaXM",
        "expires_at": "2026-01-31T08:05:00Z",
    },
}
