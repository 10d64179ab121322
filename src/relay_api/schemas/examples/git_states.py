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
}
