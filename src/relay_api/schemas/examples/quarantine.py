"""Examples of bodies and answers about deleted workspaces."""

from typing import Any

from relay_api.schemas.examples import ids

_KEPT: dict[str, Any] = {
    "id": ids.WORKSPACE,
    "task_id": ids.TASK,
    "project_id": ids.PROJECT,
    "project": "app",
    "title": ids.PROMPT,
    "name": None,
    "branch": ids.BRANCH,
    "node_id": ids.NODE,
    "quarantine": "kept",
    "quarantined_at": "2026-01-31T09:00:03Z",
    "kept_until": "2026-02-01T09:00:03Z",
    "created_by": "ann",
    "created_at": ids.CREATED,
    "deleted_at": "2026-01-31T09:00:00Z",
}
_DIRECTORY: dict[str, Any] = {
    "id": ids.MIRROR,
    "node_id": ids.NODE,
    "path": f"/data/workspaces/{ids.WORKSPACE}",
    "workspace_id": ids.WORKSPACE,
    "finding": "unregistered",
    "created_at": ids.CREATED,
}
QUARANTINE: dict[str, Any] = {
    "QuarantinedOut": _KEPT,
    "QuarantinedPage": {"items": [_KEPT], "next_cursor": None},
    "DirectoryPage": {"items": [_DIRECTORY], "next_cursor": None},
    "AdoptIn": {"project_id": "app", "title": "Adopted workspace"},
    "PurgeIn": {"generation": "12"},
    "CleanUpPreviewIn": {"unchanged_seconds": 604800.0},
    "CleanUpIn": {"unchanged_seconds": 604800.0, "generation": "3b18e512dba79e4c"},
    "CleanedUp": {"project_id": ids.PROJECT, "workspaces": [ids.WORKSPACE]},
    "RestoredProject": {"id": ids.PROJECT, "workspaces": [ids.WORKSPACE]},
}
