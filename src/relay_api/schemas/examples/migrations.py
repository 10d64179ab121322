"""Examples of the move of entities to another Relay."""

from typing import Any

from relay_api.schemas.examples import ids

_HERE = "0b7e4a52-91c3-4d6f-8a2e-5c4b3d2e1f00"
_THERE = "9a1d6c3e-2b4f-4e8d-b7c5-6f0e1d2c3b4a"
_REMOTE = "d4c3b2a1-0f9e-4d8c-9b7a-6e5f4d3c2b1a"
_STATE = {
    "id": "e7f6a5b4-c3d2-4e1f-8a9b-0c1d2e3f4a5b",
    "target_id": _THERE,
    "target_url": "https://relay.example.org",
    "entity_type": "project",
    "local_id": ids.PROJECT,
    "remote_id": _REMOTE,
    "status": "migrated",
    "error_message": None,
    "attempt_count": 1,
    "created_by": "ann",
    "created_at": ids.CREATED,
    "updated_at": ids.COMPLETED,
}
_PROJECT = {"name": "shop", "repos": [{"url": ids.URL}]}
_PART = {"sha256": ids.SHA256, "size_bytes": 5}

MIGRATIONS: dict[str, Any] = {
    "InstallationOut": {"id": _THERE, "version": "0.1.0", "formats": [1]},
    "MigrationIn": {"target_id": _THERE, "target_url": "https://relay.example.org", "project_id": "shop"},
    "MigrationSummary": {
        "target_id": _THERE,
        "owner": "ann",
        "counts": [{"entity_type": "project", "status": "pending", "count": 1}],
    },
    "MigrationOut": _STATE,
    "MigrationPage": {"items": [_STATE], "next_cursor": None},
    "OutcomeIn": {"status": "migrated", "remote_id": _REMOTE},
    "DocumentOut": {
        "format": 1,
        "origin_id": _HERE,
        "source_id": ids.PROJECT,
        "entity_type": "project",
        "content": _PROJECT,
    },
    "TransferPartOut": {**_PART, "data": "aGVsbG8=", "next_cursor": None},
    "TransferPartIn": {"data": "aGVsbG8="},
    "StoredPartOut": _PART,
    "ImportIn": {
        "format": 1,
        "origin_id": _HERE,
        "source_id": ids.PROJECT,
        "entity_type": "project",
        "project": _PROJECT,
    },
    "ImportOut": {"entity_type": "project", "id": _REMOTE, "created": True},
}
