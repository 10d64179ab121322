"""The table of partitions: those that there are, and marks of those that were dropped."""

from datetime import date, datetime

from sqlalchemy import CheckConstraint, Index, text
from sqlalchemy.orm import Mapped, mapped_column

from relay_core.store.schema.base import Base, created


class PartitionMark(Base):
    """A partition of a table. The row stays when the partition is dropped, as the mark of what was removed when."""

    __tablename__ = "partition_marks"

    name: Mapped[str] = mapped_column(primary_key=True)
    parent: Mapped[str]
    """The partitioned table."""
    starts: Mapped[date]
    ends: Mapped[date]
    """The first day after its span."""
    created_at: Mapped[datetime] = created()
    removed_at: Mapped[datetime | None]
    cause: Mapped[str | None]
    """Why it was dropped: `age` or `size`."""
    size_bytes: Mapped[int | None]
    """Bytes that it had on the disk, indexes included."""
    last_position: Mapped[int | None]
    """Of events: the greatest position in it."""

    __table_args__ = (
        CheckConstraint("(removed_at IS NULL) = (cause IS NULL)", name="partition_marks_removed"),
        Index("partition_marks_removed_of", "parent", "starts", postgresql_where=text("removed_at IS NOT NULL")),
    )
