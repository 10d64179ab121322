"""The move of entities from one Relay to another: kinds, states, and ids in texts (docs/migrating.md)."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any, Final
from uuid import UUID, uuid5

FORMAT: Final = 1
"""Version of the documents and parts that a source writes; a target says which ones it reads."""


class EntityType(StrEnum):
    """The kinds of entities that are moved, in the order in which they are."""

    PROJECT = "project"
    TASK = "task"
    WORKSPACE = "workspace"
    PR_MERGE = "pr_merge"


class MigrationStatus(StrEnum):
    """How far the move of one entity has come."""

    PENDING = "pending"
    MIGRATED = "migrated"
    FAILED = "failed"
    SKIPPED = "skipped"
    """It was not tried, because what it belongs to was not migrated."""


TRANSITIONS: Final = frozenset(
    {
        (MigrationStatus.PENDING, MigrationStatus.MIGRATED),
        (MigrationStatus.PENDING, MigrationStatus.FAILED),
        (MigrationStatus.PENDING, MigrationStatus.SKIPPED),
        (MigrationStatus.FAILED, MigrationStatus.MIGRATED),
        (MigrationStatus.FAILED, MigrationStatus.SKIPPED),
        (MigrationStatus.SKIPPED, MigrationStatus.MIGRATED),
        (MigrationStatus.SKIPPED, MigrationStatus.FAILED),
    }
)
"""The edges of the drawing in docs/migrating.md. `migrated` is left by none."""


_EARLIEST: Final = datetime(2000, 1, 1, tzinfo=UTC)
_AHEAD: Final = timedelta(days=1)


def moved_time(found: datetime) -> datetime:
    """Return a time of the source, if one of its clocks can have shown it and the database can give it back.

    Raises:
        ValueError: it is none of these, or has no offset from UTC.
    """
    try:
        right = found.tzinfo is not None and _EARLIEST <= found.astimezone(UTC) <= datetime.now(UTC) + _AHEAD
    except OverflowError:
        right = False
    if not right:
        raise ValueError("the time must have an offset, be after the year 1999, and not lie in the future")
    return found


def id_there(workspace_id: UUID, source_id: UUID) -> UUID:
    """Return the id that a row below an imported workspace has in the target.

    It follows from both ids, so every part of an import finds it without asking.

    Args:
        workspace_id: the workspace in the target.
        source_id: id of the row in the source.
    """
    return uuid5(workspace_id, source_id.hex)


def with_ids(value: Any, ids: Mapping[str, str]) -> Any:
    """Return a JSON value in which each text that is an id of the source is replaced by that of the target."""
    if isinstance(value, str):
        return ids.get(value, value)
    if isinstance(value, Mapping):
        return {key: with_ids(each, ids) for key, each in value.items()}
    if isinstance(value, list):
        return [with_ids(each, ids) for each in value]
    return value
