"""Examples of delegations."""

from typing import Any

from relay_api.schemas.examples import ids

_RULE = {"repo": "app", "path": "src/parser", "permission": "write"}
_DELEGATION: dict[str, Any] = {
    "id": "6a0f4c5e-93a3-4b21-8c7d-2f3e4d5c6b7a",
    "name": "parser",
    "parent_workspace_id": ids.WORKSPACE,
    "child_workspace_id": "1b7e5a90-4c2d-4f8e-9a6b-3d0c1e2f4a5b",
    "rules": [_RULE],
    "state": "reserved",
    "expired": False,
    "epoch": 1,
    "unverified": None,
    "created_by": "ann",
    "created_at": ids.CREATED,
    "expires_at": "2026-01-31T09:00:00Z",
    "adopted_at": None,
    "ended_at": None,
    "reclaim_reason": None,
    "noticed_in": None,
}

DELEGATIONS: dict[str, Any] = {
    "DelegationIn": {
        "parent_workspace_id": ids.WORKSPACE,
        "child_workspace_id": _DELEGATION["child_workspace_id"],
        "name": "parser",
        "rules": [{"path": "src/parser"}],
    },
    "Release": {"epoch": 1},
    "DelegationOut": _DELEGATION,
    "DelegationPage": {"items": [_DELEGATION], "next_cursor": None},
    "ScopeIn": {"delegable": [{"path": "src"}], "denied": [{"path": "src/generated"}]},
    "ScopeOut": {
        "workspace_id": ids.WORKSPACE,
        "restricted": True,
        "held": None,
        "excluded": [_RULE, {"repo": "app", "path": "src/generated", "permission": "write"}],
        "delegable": [{"repo": "app", "path": "src", "permission": "write"}],
        "denied": [{"repo": "app", "path": "src/generated", "permission": "write"}],
    },
}
