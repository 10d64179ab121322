"""Examples of answers about events and conversations."""

from typing import Any

from relay_api.schemas.examples import ids
from relay_core.domain.events import EventKind


def _event(cursor: int, sequence: int, kind: EventKind, created_at: str, payload: dict[str, Any]) -> dict[str, Any]:
    return {
        "cursor": cursor,
        "workspace_id": ids.WORKSPACE,
        "project_id": None,
        "subject_kind": "workspace",
        "subject_id": ids.WORKSPACE,
        "operation_id": ids.AGENT,
        "sequence": sequence,
        "kind": kind.value,
        "terminal": kind is EventKind.EXECUTION_COMPLETED,
        "payload": payload,
        "created_at": created_at,
    }


_EVENTS = [
    _event(6, 1, EventKind.EXECUTION_QUEUED, ids.AGENT_CREATED, {"run_reason": "coding_agent", "repo": None}),
    _event(
        7,
        2,
        EventKind.EXECUTION_STARTED,
        ids.AGENT_STARTED,
        {"run_reason": "coding_agent", "node_id": ids.NODE, "attempt": 1},
    ),
    _event(
        8,
        3,
        EventKind.EXECUTION_COMPLETED,
        ids.COMPLETED,
        {"status": "completed", "reason": None, "exit_code": 0, "error_reason": None},
    ),
]
_SESSION = {
    "id": ids.SESSION,
    "workspace_id": ids.WORKSPACE,
    "executor": "claude-code",
    "profile": None,
    "agent_session_id": "c3f0d7a2-7b41-4d0e-9a65-0f8e2c1b4d3a",
    "can_resume": True,
    "created_at": ids.CREATED,
    "turns": [
        {
            "execution_id": ids.AGENT,
            "status": "completed",
            "prompt": ids.PROMPT,
            "summary": "I added a test of empty input and of comments.",
            "agent_session_id": "c3f0d7a2-7b41-4d0e-9a65-0f8e2c1b4d3a",
            "agent_message_id": "msg_01XFDUDYJgAACzvnptvVoYEL",
            "usage": ids.USAGE,
            "seen": False,
            "created_at": ids.AGENT_CREATED,
            "completed_at": ids.COMPLETED,
        }
    ],
    "links": {
        "self": f"/v1/sessions/{ids.SESSION}",
        "workspace": f"/v1/workspaces/{ids.WORKSPACE}",
        "follow_ups": f"/v1/sessions/{ids.SESSION}/follow-ups",
    },
}


def _entry(number: int, kind: str, text: str, tool: dict[str, Any] | None = None) -> dict[str, Any]:
    return {
        "entry": number,
        "sequence": number + 1,
        "kind": kind,
        "text": text,
        "tool": tool,
        "usage": None,
        "truncated": False,
        "agent": None,
        "masked": False,
        "created_at": ids.AGENT_STARTED,
    }


_TOOL = {
    "name": "Write",
    "input": '{"file_path": "tests/test_parser.py"}',
    "status": "completed",
    "result": "File created",
    "paths": ["tests/test_parser.py"],
}

RECORDS: dict[str, Any] = {
    "EventList": {"items": _EVENTS},
    "WorkspaceEventList": {"items": _EVENTS, "next_after": 8},
    "GlobalEventList": {"items": _EVENTS, "next_after": "90412"},
    "ConversationPage": {
        "items": [_entry(0, "assistant", "I begin with empty input."), _entry(1, "file_edit", "", _TOOL)],
        "next_after": 1,
    },
    "SessionOut": _SESSION,
    "SessionList": {"items": [_SESSION]},
}
