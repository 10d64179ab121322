"""Examples of answers about executions and their changes."""

from typing import Any

from relay_api.schemas.examples import ids

_LOG = {"bytes": 5, "sha256": ids.SHA256, "truncated": False, "closed": True}
_NO_LOG = {
    "bytes": 0,
    "sha256": "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "truncated": False,
    "closed": True,
}
_LINKS = {
    "self": f"/v1/executions/{ids.AGENT}",
    "run": f"/v1/runs/{ids.RUN}",
    "workspace": f"/v1/workspaces/{ids.WORKSPACE}",
    **{
        name: f"/v1/executions/{ids.AGENT}/{path}"
        for name, path in {
            "logs": "logs",
            "log_stream": "logs/stream",
            "conversation": "conversation",
            "conversation_stream": "conversation/stream",
            "events": "events",
            "diff": "diff",
            "bundle": "bundle",
            "kill": "kill",
            "retry": "retry",
        }.items()
    },
}
_EXECUTION: dict[str, Any] = {
    "id": ids.AGENT,
    "run_id": ids.RUN,
    "workspace_id": ids.WORKSPACE,
    "session_id": ids.SESSION,
    "project_id": None,
    "group_id": ids.GROUP,
    "run_reason": "coding_agent",
    "operation_class": "workspace",
    "repo": None,
    "executor": "claude-code",
    "status": "completed",
    "reason": None,
    "error_reason": None,
    "exit_code": 0,
    "attempt": 1,
    "retry_of": None,
    "dropped": False,
    "node_id": ids.NODE,
    "created_at": ids.AGENT_CREATED,
    "started_at": ids.AGENT_STARTED,
    "completed_at": ids.COMPLETED,
    "kill_requested_at": None,
    "kill_requested_by": None,
    "repo_states": [
        {
            "repo_id": ids.REPO,
            "name": "app",
            "before_head_commit": ids.BASE_COMMIT,
            "after_head_commit": ids.NEW_COMMIT,
            "merge_commit": None,
            "after_state": "recorded",
            "branch": ids.BRANCH,
            "dirty": False,
            "summary": {
                "staged": 0,
                "modified": 0,
                "deleted": 0,
                "untracked": 0,
                "unmerged": 0,
                "nested": 0,
                "paths": [],
                "complete": True,
            },
            "pinned_commit": ids.NEW_COMMIT,
            "committed": ids.NEW_COMMIT,
            "problem": None,
            "stat": {"files": 2, "insertions": 41, "deletions": 3, "truncated": False},
            "masked": [],
            "omitted": [],
            "excluded": {"count": 1, "paths": [{"path": ".venv/", "pattern": ".venv/"}]},
        }
    ],
    "logs": {"stdout": _LOG, "stderr": _NO_LOG, "all": _LOG},
    "dev_server": None,
    "progress": None,
    "links": _LINKS,
}

EXECUTIONS: dict[str, Any] = {
    "ExecutionPage": {"items": [_EXECUTION], "next_cursor": None},
    "ExecutionDetail": {
        **_EXECUTION,
        "action": {
            "run_reason": "coding_agent",
            "repo": None,
            "cwd": "",
            "as_root": False,
            "executor": {
                "name": "claude-code",
                "command": None,
                "variant": "default",
                "model": "opus",
                "reasoning_effort": None,
                "permission_mode": "auto",
                "args": [],
                "env": {},
            },
            "prompt": ids.PROMPT,
        },
        "next": [{"run_reason": "cleanup_script", "repo": "app"}],
        "turn": {
            "agent_session_id": "c3f0d7a2-7b41-4d0e-9a65-0f8e2c1b4d3a",
            "agent_message_id": "msg_01XFDUDYJgAACzvnptvVoYEL",
            "prompt": ids.PROMPT,
            "summary": "I added a test of empty input and of comments.",
            "usage": ids.USAGE,
            "seen": False,
        },
        "waits_for": None,
        "queue": None,
    },
    "DiffList": {
        "items": [
            {
                "repo_id": ids.REPO,
                "name": "app",
                "execution_id": ids.AGENT,
                "base_commit": ids.BASE_COMMIT,
                "head_commit": ids.NEW_COMMIT,
                "stat": {"files": 2, "insertions": 41, "deletions": 3, "truncated": False},
                "applies": True,
                "masked": [],
                "omitted": [],
                "excluded": [{"path": ".venv/", "pattern": ".venv/"}],
                "bundle_bytes": 1482,
                "bundle_problem": None,
            }
        ],
        "links": {"patch": f"/v1/workspaces/{ids.WORKSPACE}/diff?format=patch"},
    },
}
