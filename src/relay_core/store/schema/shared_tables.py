"""Tables of things that belong to an owner and to no project."""

from datetime import datetime
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import Index, UniqueConstraint, func
from sqlalchemy.orm import Mapped, mapped_column

from relay_core.domain.vocabulary import ScratchType
from relay_core.store.schema.base import Base, created, one_of


class Tag(Base):
    """A reusable text, which prompts of its owner contain as `@tag_name`."""

    __tablename__ = "tags"

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid4)
    tag_name: Mapped[str]
    content: Mapped[str]
    created_by: Mapped[str]
    created_at: Mapped[datetime] = created()
    updated_at: Mapped[datetime] = mapped_column(server_default=func.now())

    __table_args__ = (
        UniqueConstraint("created_by", "tag_name", name="tags_name"),
        Index("tags_newest", "created_at", "id"),
        Index("tags_of_owner", "created_by", "created_at", "id"),
    )


class Scratch(Base):
    """A draft, a note or a preference of a person, which Relay only keeps."""

    __tablename__ = "scratch"

    created_by: Mapped[str] = mapped_column(primary_key=True)
    scratch_type: Mapped[str] = mapped_column(primary_key=True)
    id: Mapped[UUID] = mapped_column(primary_key=True)
    """Chosen by the client: the id of what the text is about, for example of a session."""
    payload: Mapped[dict[str, Any]]
    created_at: Mapped[datetime] = created()
    updated_at: Mapped[datetime] = mapped_column(server_default=func.now())

    __table_args__ = (
        one_of("scratch_type", ScratchType, "scratch_type"),
        Index("scratch_of_owner", "created_by", "created_at", "id"),
    )
