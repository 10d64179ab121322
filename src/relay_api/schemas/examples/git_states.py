"""Examples of bodies and answers about the git state of a workspace."""

from typing import Any

from relay_api.schemas.examples import ids

GIT_STATES: dict[str, Any] = {
    "GitStateOut": {
        "workspace_id": ids.WORKSPACE,
        "generation": "12",
        "git_state": "diverged",
        "acknowledgement_needed": True,
        "repos": [
            {
                "repo_id": ids.REPO,
                "name": "app",
                "git_state": "diverged",
                "recorded_commit": ids.BASE_COMMIT,
                "head_commit": ids.NEW_COMMIT,
                "problem": None,
                "found_at": ids.COMPLETED,
            }
        ],
    },
    "AcknowledgeIn": {"generation": "12"},
    "PreviewOut": {
        "act": "resume_at",
        "generation": "12",
        "blockers": [],
        "warnings": [
            {
                "code": "uncommitted_changes",
                "message": "repos/app had changes that are not committed: they are discarded; the node keeps them as a "
                "commit",
            }
        ],
        "mutations": [
            {
                "operation_class": "workspace",
                "change": f"HEAD, index and files of repos/app are those of {ids.BASE_COMMIT}",
                "repo": "app",
                "from_commit": ids.NEW_COMMIT,
                "to_commit": ids.BASE_COMMIT,
            },
            {
                "operation_class": "registry",
                "change": "2 executions are marked as dropped",
                "repo": None,
                "from_commit": None,
                "to_commit": None,
            },
        ],
    },
    "ResumeAtPreviewIn": {"execution": ids.AGENT, "discard_changes": True},
    "ResumeAtIn": {"execution": ids.AGENT, "discard_changes": True, "generation": "12"},
}
