"""Runs and executions as the API answers with them, for tests of what the command line shows."""

from typing import Any

RUN_ID = "3f2a91bc-0000-4000-8000-000000000001"
AGENT_ID = "a6e41bc0-0000-4000-8000-000000000002"
SETUP_ID = "5e70b1c2-0000-4000-8000-000000000003"
WORKSPACE_ID = "fc90ec5e-0000-4000-8000-000000000004"
SESSION_ID = "5e551077-0000-4000-8000-000000000005"
REPO = {
    "name": "app",
    "url": "https://git.example.org/team/app.git",
    "target_branch": "main",
    "ref": None,
    "base_commit": "1" * 40,
    "stat": {"files": 2, "insertions": 10, "deletions": 3},
}
SOURCE = {
    "repo": "app",
    "url": "https://git.example.org/team/app.git",
    "ref": None,
    "target_branch": "main",
    "commit": "1" * 40,
}


def run_json(**changed: Any) -> dict[str, Any]:
    """A run that succeeded; the arguments replace fields."""
    own = f"/v1/runs/{RUN_ID}"
    names = ("executions", "events", "logs", "diff", "conversation")
    run = {
        "id": RUN_ID,
        "kind": "job",
        "title": "Count the files",
        "labels": {"team": "core"},
        "metadata": {},
        "status": "completed",
        "conclusion": "success",
        "reason": None,
        "message": None,
        "advice": None,
        "exit_code": 0,
        "failed_step": None,
        "current_step": None,
        "queue": None,
        "project": {"id": "c0ffee00-0000-4000-8000-000000000006", "name": "app"},
        "task_id": "7a5c0000-0000-4000-8000-000000000007",
        "workspace_id": WORKSPACE_ID,
        "session_id": SESSION_ID,
        "agent_execution_id": AGENT_ID,
        "executor": "claude-code",
        "repos": [REPO],
        "sources": [SOURCE],
        "branch": "vk-3f2a-count-the-files",
        "pull_request": None,
        "stat": {"files": 2, "insertions": 10, "deletions": 3},
        "usage": {
            "input_tokens": 1200,
            "cache_read_input_tokens": 30000,
            "output_tokens": 400,
            "cost_usd": 0.0123,
            "duration_ms": 1368,
        },
        "timings": {"queue_seconds": 0.2, "start_seconds": 3.0, "run_seconds": 30.4},
        "created_by": "alice",
        "created_at": "2026-11-26T08:00:00+00:00",
        "started_at": "2026-11-26T08:00:00.200000+00:00",
        "completed_at": "2026-11-26T08:00:33.600000+00:00",
        "rerun_of": None,
        "node_id": "n1",
        "image": "relay-claude-code:latest",
        "links": {
            "self": own,
            "workspace": f"/v1/workspaces/{WORKSPACE_ID}",
            **{name: f"{own}/{name}" for name in names},
            "page": f"/runs/{RUN_ID}",
        },
    }
    assert changed.keys() <= run.keys(), "a field that the API does not have"
    return {**run, **changed}


def failed_json(**changed: Any) -> dict[str, Any]:
    """A run whose setup script failed."""
    step = {
        "execution_id": SETUP_ID,
        "run_reason": "setup_script",
        "repo": "app",
        "status": "failed",
        "reason": "exit_code",
        "exit_code": 3,
        "message": "the setup script exited with 3",
    }
    fields = {
        "conclusion": "failure",
        "reason": "exit_code",
        "message": "the setup script exited with 3",
        "advice": "Read the log of the step, mend it, and run again.",
        "exit_code": 3,
        "failed_step": step,
        "agent_execution_id": None,
        "stat": None,
        "usage": None,
    }
    return run_json(**{**fields, **changed})


def step_json(**changed: Any) -> dict[str, Any]:
    """An execution that completed; the arguments replace or add fields."""
    return {
        "id": AGENT_ID,
        "workspace_id": WORKSPACE_ID,
        "session_id": SESSION_ID,
        "run_id": RUN_ID,
        "run_reason": "coding_agent",
        "repo": None,
        "executor": "shell",
        "status": "completed",
        "reason": None,
        "error_reason": None,
        "exit_code": 0,
        "created_at": "2026-11-26T08:00:03.200000+00:00",
        "started_at": "2026-11-26T08:00:03.300000+00:00",
        "completed_at": "2026-11-26T08:00:33.600000+00:00",
        **changed,
    }
