"""The columns that move with a workspace, by table, and the check of their values in the target."""

import re
from collections.abc import Callable, Mapping
from datetime import datetime
from types import MappingProxyType
from typing import Any
from uuid import UUID

from sqlalchemy import BigInteger, Boolean, DateTime, Text, Uuid
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

from relay_core.domain.transfer import moved_time, with_ids
from relay_core.store.schema.tables import (
    Base,
    CodingAgentTurn,
    ConversationEntry,
    Event,
    ExecutionProcess,
    ExecutionProcessRepoState,
    LogStream,
    Merge,
    Operation,
    Run,
    Session,
    Workspace,
    WorkspaceRepo,
    WorkspaceSecret,
)
from relay_core.store.transfer.codec import damaged

MOVED: Mapping[type[Base], tuple[str, ...]] = MappingProxyType(
    {
        Workspace: (
            *("branch", "agent_working_dir", "pinned", "name", "needs", "requested_image", "requested_uid"),
            *("secrets_in", "auto_commit", "resolved_image", "limits", "sources", "created_at"),
        ),
        WorkspaceRepo: (
            *("repo_id", "position", "name", "url", "target_branch", "ref", "working_dir", "setup_script"),
            *("cleanup_script", "dev_server_script", "archive_script", "parallel_setup_script", "setup_as_root"),
            *("copy_files", "base_commit"),
        ),
        WorkspaceSecret: ("env_name", "secret_name"),
        Session: ("id", "executor", "executor_config", "profile", "created_at"),
        Run: (
            *("id", "session_id", "kind", "title", "labels", "details", "status", "conclusion"),
            *("deciding_execution_id", "rerun_of", "priority", "admitted_at", "created_at", "started_at"),
            "completed_at",
        ),
        Operation: ("id", "kind", "event_sequence", "created_at", "completed_at"),
        Merge: (
            *("id", "repo_id", "execution_id", "method", "target_branch_name", "message", "source_commit"),
            *("target_commit", "merge_commit", "merged_at", "conflicts", "created_at"),
        ),
        ExecutionProcess: (
            *("id", "session_id", "run_id", "run_reason", "executor_action", "status", "reason", "error_reason"),
            *("exit_code", "dropped", "created_at", "started_at", "completed_at", "group_id", "kill_requested_at"),
            *("kill_requested_by", "event_sequence", "retry_of"),
        ),
        ExecutionProcessRepoState: (
            *("repo_id", "before_head_commit", "after_head_commit", "merge_commit", "after_state", "branch"),
            *("dirty", "summary", "pinned_commit", "committed", "problem", "stat", "bundle_problem"),
        ),
        CodingAgentTurn: ("id", "prompt", "summary", "usage", "seen"),
        ConversationEntry: ("entry", "sequence", "kind", "content", "created_at"),
        Event: ("workspace_seq", "operation_id", "sequence", "kind", "terminal", "payload", "created_at"),
        LogStream: ("stream", "bytes", "sha256", "truncated", "closed"),
    }
)
"""Columns by table. What names a node, a process, a credential or a conversation's file stays behind."""
BLOBS = ("patch", "step_patch", "run_patch", "bundle")
"""Columns of `ExecutionProcessRepoState` that move as bytes."""
_COMMIT = re.compile(r"[0-9a-f]{40}(?:[0-9a-f]{24})?")
_COMMITS = re.compile(r".*_commit$|^committed$")
_INT = 1 << 63


def columns(table: type[Base]) -> list[Any]:
    """Return the columns of a table that move, each under its name in `MOVED`."""
    return [getattr(table, name).label(name) for name in MOVED[table]]


def checked(table: type[Base], row: Any, ids: Mapping[str, str]) -> dict[str, Any]:
    """Return the values of a row that was moved, by name of the column, with the ids that they have here.

    A value that is null is left out, so that a column of JSON gets no JSON null.

    Args:
        table: the row's table.
        row: the fields of the record.
        ids: ids here by ids of the source; an id that is none of them becomes null.

    Raises:
        InvalidInput: `import_damaged`: a column is missing, or a value has the wrong type.
    """
    if not isinstance(row, Mapping) or set(row) != set(MOVED[table]):
        raise damaged(f"a row of {table.__tablename__} has not the columns that it should have")
    values = {}
    for name, value in row.items():
        column = getattr(table, name).property.columns[0]
        try:
            read = None if value is None else _READ[type(column.type)](name, value, ids)
        except (ValueError, TypeError, OverflowError, RecursionError) as error:
            raise damaged(f"{name} of a row of {table.__tablename__} is no value of this column") from error
        if read is not None:
            values[column.name] = read
    return values


def _text(name: str, value: Any, _ids: Mapping[str, str]) -> str:
    if not isinstance(value, str) or "\0" in value:
        raise TypeError(name)
    value.encode()  # no half of a surrogate pair
    if _COMMITS.fullmatch(name) and not _COMMIT.fullmatch(value):
        raise ValueError(name)
    return value


def _number(name: str, value: Any, _ids: Mapping[str, str]) -> int:
    if type(value) is not int or not -_INT <= value < _INT:
        raise TypeError(name)
    return value


def _flag(name: str, value: Any, _ids: Mapping[str, str]) -> bool:
    if type(value) is not bool:
        raise TypeError(name)
    return value


def _time(name: str, value: Any, _ids: Mapping[str, str]) -> datetime:
    return moved_time(datetime.fromisoformat(_text(name, value, {})))


def _id(name: str, value: Any, ids: Mapping[str, str]) -> UUID | None:
    here = ids.get(str(UUID(_text(name, value, {}))))
    return None if here is None else UUID(here)


def _json(name: str, value: Any, ids: Mapping[str, str]) -> Any:
    if not isinstance(value, dict):
        raise TypeError(name)
    return with_ids(value, ids)


def _texts(name: str, value: Any, ids: Mapping[str, str]) -> list[str]:
    if not isinstance(value, list):
        raise TypeError(name)
    return [_text("", each, ids) for each in value]


_READ: Mapping[type[Any], Callable[[str, Any, Mapping[str, str]], Any]] = MappingProxyType(
    {
        Text: _text,
        BigInteger: _number,
        Boolean: _flag,
        DateTime: _time,
        Uuid: _id,
        JSONB: _json,
        ARRAY: _texts,
    }
)
