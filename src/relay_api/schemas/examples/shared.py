"""Examples of tags, scratch and session profiles."""

from typing import Any

from relay_api.schemas.examples import ids

_TAG = {
    "id": "3e9c1b7a-5d2f-4a8e-9c6b-1f0d2e3a4b5c",
    "tag_name": "careful",
    "content": "Change as little as possible, and run the tests before you end.",
    "created_by": "ann",
    "created_at": ids.CREATED,
    "updated_at": ids.CREATED,
}
_SCRATCH: dict[str, Any] = {
    "scratch_type": "draft_follow_up",
    "id": ids.SESSION,
    "payload": {
        "type": "draft_follow_up",
        "prompt": "Now document the option",
        "executor": {"name": "claude-code", "variant": None},
    },
    "created_at": ids.CREATED,
    "updated_at": ids.COMPLETED,
}

_PROFILE: dict[str, Any] = {
    "name": "review",
    "description": "Reads, and changes nothing",
    "image": "relay-claude-code:latest",
    "executor": {
        "name": "claude-code",
        "command": None,
        "variant": "plan",
        "model": None,
        "reasoning_effort": None,
        "permission_mode": None,
        "args": [],
    },
    "shell": None,
    "columns": 80,
    "rows": 24,
}
_IMAGE: dict[str, Any] = {
    "id": "5b8d1e3f-7a90-4c2b-8e4d-6f1a2b3c4d5e",
    "original_name": "screenshot.png",
    "file_path": "screenshot-2cf24dba.png",
    "mime_type": "image/png",
    "size_bytes": 48211,
    "width": 1280,
    "height": 720,
    "hash": ids.SHA256,
    "task_ids": [ids.TASK],
    "created_by": "ann",
    "created_at": ids.CREATED,
}

SHARED: dict[str, Any] = {
    "TagIn": {"tag_name": "careful", "content": _TAG["content"]},
    "TagChange": {"content": "Run the tests before you end."},
    "TagOut": _TAG,
    "TagPage": {"items": [_TAG], "next_cursor": None},
    "ImageIn": {"name": "screenshot.png", "data": "iVBORw0KGgo="},
    "ImageOut": _IMAGE,
    "ImagePage": {"items": [_IMAGE], "next_cursor": None},
    "SessionProfileOut": _PROFILE,
    "SessionProfileList": {"items": [_PROFILE]},
    "ScratchIn": {"payload": _SCRATCH["payload"]},
    "ScratchOut": _SCRATCH,
    "ScratchPage": {"items": [_SCRATCH], "next_cursor": None},
}
