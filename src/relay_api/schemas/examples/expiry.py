"""Examples of answers about the expiry of idle workspaces."""

from typing import Any

from relay_api.schemas.examples import ids

EXPIRY: dict[str, Any] = {
    "ExpiryOut": {
        "workspace_id": ids.WORKSPACE,
        "idle_seconds": 30000.5,
        "pinned": False,
        "next": {
            "act": "archive",
            "hours": 168.0,
            "in_seconds": 574799.5,
            "setting": "idle_archive_hours",
        },
        "blockers": [{"code": "pull_request_open", "message": "1 pull requests are open"}],
    },
    "KeptList": {
        "items": [
            {
                "repo_id": ids.REPO,
                "name": "app",
                "base_commit": ids.BASE_COMMIT,
                "head_commit": ids.BASE_COMMIT,
                "branch": ids.BRANCH,
                "dirty": True,
                "pinned_commit": ids.NEW_COMMIT,
                "stat": {"files": 2, "insertions": 31, "deletions": 4, "truncated": False},
                "bundle_bytes": 2310,
                "kept_at": ids.COMPLETED,
            }
        ]
    },
}
