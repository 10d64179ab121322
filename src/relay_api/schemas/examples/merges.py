"""Examples of answers about merges."""

from typing import Any

from relay_api.schemas.examples import ids

_MERGE: dict[str, Any] = {
    "id": ids.MERGE,
    "project_id": ids.PROJECT,
    "task_id": ids.TASK,
    "workspace_id": ids.WORKSPACE,
    "repo_id": ids.REPO,
    "repo": "app",
    "execution_id": ids.AGENT,
    "run_id": ids.RUN,
    "kind": "direct",
    "method": "squash",
    "status": "merged",
    "target_branch_name": "main",
    "message": ids.PROMPT,
    "source_commit": ids.NEW_COMMIT,
    "target_commit": ids.BASE_COMMIT,
    "merge_commit": ids.MERGE_COMMIT,
    "merged_at": ids.COMPLETED,
    "conflicts": None,
    "error_reason": None,
    "pr_info": None,
    "created_by": "ann",
    "created_at": ids.CREATED,
    "updated_at": ids.COMPLETED,
}

MERGES: dict[str, Any] = {
    "ChangedFilesList": {
        "items": [
            {
                "repo_id": ids.REPO,
                "name": "app",
                "target_branch": "main",
                "base_commit": ids.BASE_COMMIT,
                "head_commit": ids.NEW_COMMIT,
                "stat": {"files": 1, "insertions": 12, "deletions": 1, "truncated": False},
                "complete": True,
                "files": [
                    {
                        "path": "tests/test_parser.py",
                        "change": "added",
                        "insertions": 12,
                        "deletions": 1,
                        "binary": False,
                    }
                ],
            }
        ]
    },
    "MergeOut": _MERGE,
    "MergePage": {"items": [_MERGE], "next_cursor": None},
    "MergePreviewOut": {
        "generation": "5b1f0c2d3e4a5968",
        "repo": "app",
        "target_branch": "main",
        "source_commit": ids.NEW_COMMIT,
        "message": ids.PROMPT,
        "blockers": [],
        "warnings": [],
        "mutations": [f"push: one commit with all changes to branch main of {ids.URL}", "task → done"],
    },
}
