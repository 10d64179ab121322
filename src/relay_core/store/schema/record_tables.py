"""Tables of events and logs."""

from datetime import date, datetime
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import Boolean, CheckConstraint, ForeignKey, Index, SmallInteger, UniqueConstraint, func, text
from sqlalchemy.orm import Mapped, mapped_column

from relay_core.domain.operations import OperationKind, SubjectKind
from relay_core.domain.vocabulary import Stream
from relay_core.store.schema.base import Base, created, one_of


class Event(Base):
    """An event of a workspace or of an operation; the terminal event of an operation is its last."""

    __tablename__ = "events"

    id: Mapped[int] = mapped_column(primary_key=True)
    position: Mapped[int | None]
    """Position among all events, given after the commit; null until then."""
    workspace_id: Mapped[UUID | None] = mapped_column(ForeignKey("workspaces.id"))
    """Null: the event is about something else, its subject."""
    workspace_seq: Mapped[int | None]
    project_id: Mapped[UUID | None] = mapped_column(ForeignKey("projects.id", name="events_project_exists"))
    """The project that the event is about; null for events about something else."""
    subject_kind: Mapped[str | None]
    """A `SubjectKind`; null: the subject is the workspace or the project."""
    subject_id: Mapped[str | None]
    owner: Mapped[str | None]
    """Of an event about a credential: the owner who may read it; null for events about something else."""
    operation_id: Mapped[UUID | None]
    sequence: Mapped[int | None]
    kind: Mapped[str]
    terminal: Mapped[bool] = mapped_column(Boolean, server_default=text("false"))
    payload: Mapped[dict[str, Any]] = mapped_column(server_default=text("'{}'::jsonb"))
    created_at: Mapped[datetime] = mapped_column(server_default=func.clock_timestamp())

    __table_args__ = (
        UniqueConstraint("workspace_id", "workspace_seq", name="events_workspace_seq"),
        UniqueConstraint("operation_id", "sequence", name="events_operation_sequence"),
        CheckConstraint(
            "(workspace_id IS NULL) = (workspace_seq IS NULL) AND (subject_kind IS NULL) = (subject_id IS NULL) "
            "AND num_nonnulls(workspace_id, project_id, subject_kind) = 1",
            name="events_subject",
        ),
        Index(
            "events_of_subject",
            "subject_kind",
            "subject_id",
            "position",
            postgresql_where=text("subject_kind IS NOT NULL"),
        ),
        Index("events_owner", "owner", "position", postgresql_where=text("owner IS NOT NULL")),
        Index("events_one_terminal", "operation_id", unique=True, postgresql_where=text("terminal")),
        Index("events_position", "position", unique=True),
        Index("events_of_project", "project_id", "position", postgresql_where=text("project_id IS NOT NULL")),
        Index("events_without_position", "id", postgresql_where=text("position IS NULL")),
    )


class Operation(Base):
    """An act with an outcome that is no execution; its events are numbered 1..n, and the last one ends it."""

    __tablename__ = "operations"

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid4)
    kind: Mapped[str]
    subject_kind: Mapped[str]
    subject_id: Mapped[str]
    workspace_id: Mapped[UUID | None] = mapped_column(ForeignKey("workspaces.id"))
    owner: Mapped[str | None]
    """Of an operation without a workspace: the owner who may read it; null: only admins."""
    event_sequence: Mapped[int] = mapped_column(server_default=text("0"))
    created_at: Mapped[datetime] = created()
    completed_at: Mapped[datetime | None]

    __table_args__ = (
        one_of("kind", OperationKind, "operations_kind"),
        one_of("subject_kind", SubjectKind, "operations_subject_kind"),
        Index(
            "operations_open",
            "subject_kind",
            "subject_id",
            "kind",
            unique=True,
            postgresql_where=text("completed_at IS NULL"),
        ),
    )


_WEEK = text("(date_trunc('week', now() AT TIME ZONE 'UTC'))::date")


class LogStream(Base):
    """Size and state of one stream of a log; an append updates the row only if fence and offset match."""

    __tablename__ = "log_streams"

    execution_id: Mapped[UUID] = mapped_column(ForeignKey("execution_processes.id"), primary_key=True)
    stream: Mapped[str] = mapped_column(primary_key=True)
    fence: Mapped[int] = mapped_column(server_default=text("0"))
    """The execution's fence, copied here so that an append can check fence and offset in one row."""
    bytes: Mapped[int] = mapped_column(server_default=text("0"))
    sha256: Mapped[str | None]
    """SHA-256 of the stored bytes, once the log is complete."""
    truncated: Mapped[bool] = mapped_column(server_default=text("false"))
    """Whether the process wrote more than is stored."""
    closed: Mapped[bool] = mapped_column(server_default=text("false"))
    compacted_to: Mapped[int | None] = mapped_column(server_default=text("0"))
    """For the stream `all`: offset up to which chunks are merged into large ones; null once all are."""
    week: Mapped[date] = mapped_column(server_default=_WEEK)
    """Monday of the week in which the execution started: the partition that has all bytes of its log."""

    __table_args__ = (
        one_of("stream", Stream, "log_streams_stream"),
        Index(
            "log_streams_to_compact",
            "execution_id",
            postgresql_where=text("stream = 'all' AND closed AND compacted_to IS NOT NULL"),
        ),
    )


class LogChunk(Base):
    """A piece of stdout or stderr. In the order of `all_offset`, the pieces of both are the stream `all`.

    The keys hold within a partition, and so everywhere, as all pieces of a log are in one. Only a worker of an older
    version, which names no week, stores pieces in later ones; readers look there if a piece is missing.
    """

    __tablename__ = "log_chunks"

    execution_id: Mapped[UUID] = mapped_column(primary_key=True)
    stream: Mapped[str] = mapped_column(primary_key=True)
    start_offset: Mapped[int] = mapped_column(primary_key=True)
    all_offset: Mapped[int]
    byte_length: Mapped[int]
    """Number of bytes before compression."""
    codec: Mapped[int] = mapped_column(SmallInteger)
    """0: the bytes as they are, 1: one zstd frame."""
    data: Mapped[bytes]
    week: Mapped[date] = mapped_column(server_default=_WEEK)
    """That of the log's `LogStream`; the table is partitioned by it."""

    __table_args__ = (
        Index("log_chunks_all", "execution_id", "all_offset", unique=True),
        CheckConstraint("byte_length > 0 AND codec IN (0, 1)", name="log_chunks_shape"),
    )
