"""Tables of uploaded images, and of the tasks that they belong to."""

from datetime import datetime
from uuid import UUID, uuid4

from sqlalchemy import ForeignKey, Index, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from relay_core.store.schema.base import Base, created


class Image(Base):
    """An uploaded image with its bytes, which every node can read."""

    __tablename__ = "images"

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid4)
    file_path: Mapped[str]
    """Name of its file in the directory of images of a workspace."""
    original_name: Mapped[str]
    """The name that the client gave, without directories and control characters."""
    mime_type: Mapped[str]
    """Read from its bytes."""
    size_bytes: Mapped[int]
    width: Mapped[int]
    height: Mapped[int]
    hash: Mapped[str]
    """SHA-256 of its bytes, in hex; an owner has each image once."""
    content: Mapped[bytes]
    created_by: Mapped[str]
    created_at: Mapped[datetime] = created()

    __table_args__ = (
        UniqueConstraint("created_by", "hash", name="images_hash"),
        Index("images_newest", "created_at", "id"),
        Index("images_of_owner", "created_by", "created_at", "id"),
    )


class TaskImage(Base):
    """An image of a task; its agents get it."""

    __tablename__ = "task_images"

    task_id: Mapped[UUID] = mapped_column(ForeignKey("tasks.id", ondelete="CASCADE"), primary_key=True)
    image_id: Mapped[UUID] = mapped_column(ForeignKey("images.id"), primary_key=True, index=True)
    created_at: Mapped[datetime] = created()
