"""Tables of the move of entities to another Relay: their states in the source, and the imports of the target."""

from datetime import datetime
from uuid import UUID, uuid4

from sqlalchemy import CheckConstraint, Index, UniqueConstraint, func, text
from sqlalchemy.orm import Mapped, mapped_column

from relay_core.domain.transfer import EntityType, MigrationStatus
from relay_core.store.schema.base import Base, created, one_of


class Installation(Base):
    """The one row that names this Relay, so that another one can tell where an import comes from."""

    __tablename__ = "installation"

    singleton: Mapped[bool] = mapped_column(primary_key=True, server_default=text("true"))
    id: Mapped[UUID] = mapped_column(default=uuid4)

    __table_args__ = (CheckConstraint("singleton", name="installation_singleton"),)


class MigrationState(Base):
    """How far the move of one entity to one target has come."""

    __tablename__ = "migration_states"

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid4)
    target_id: Mapped[UUID]
    """Id of the target's `Installation`."""
    target_url: Mapped[str]
    """Address of the target when the entity was last registered, without credentials."""
    entity_type: Mapped[str]
    local_id: Mapped[UUID]
    remote_id: Mapped[UUID | None]
    """Its id in the target, once it is there."""
    status: Mapped[str] = mapped_column(server_default=MigrationStatus.PENDING)
    error_message: Mapped[str | None]
    """Why it failed or was skipped, as a sentence for people."""
    attempt_count: Mapped[int] = mapped_column(server_default=text("0"))
    """How often a client has begun to move it."""
    created_by: Mapped[str]
    created_at: Mapped[datetime] = created()
    updated_at: Mapped[datetime] = mapped_column(server_default=func.now(), onupdate=func.now())

    __table_args__ = (
        one_of("entity_type", EntityType, "migration_states_entity_type"),
        one_of("status", MigrationStatus, "migration_states_status"),
        CheckConstraint("(status = 'migrated') = (remote_id IS NOT NULL)", name="migration_states_migrated"),
        CheckConstraint(
            "(status IN ('failed', 'skipped')) = (error_message IS NOT NULL)", name="migration_states_error"
        ),
        UniqueConstraint("created_by", "target_id", "entity_type", "local_id", name="migration_states_entity"),
        Index("migration_states_newest", "created_at", "id"),
        Index("migration_states_of_owner", "created_by", "created_at", "id"),
        Index("migration_states_of_status", "status", "created_at", "id", "created_by"),
        Index("migration_states_of_type", "entity_type", "created_at", "id", "created_by"),
    )


class TransferPart(Base):
    """A part of a workspace that was uploaded for an import; the import deletes it."""

    __tablename__ = "transfer_parts"

    created_by: Mapped[str] = mapped_column(primary_key=True)
    sha256: Mapped[str] = mapped_column(primary_key=True)
    """SHA-256 of the bytes, in hex."""
    size_bytes: Mapped[int]
    content: Mapped[bytes]
    created_at: Mapped[datetime] = created()

    __table_args__ = (Index("transfer_parts_oldest", "created_at"),)


class ImportedEntity(Base):
    """An entity that was imported; the key keeps a repeated or concurrent import from making a second row."""

    __tablename__ = "imported_entities"

    created_by: Mapped[str] = mapped_column(primary_key=True)
    origin_id: Mapped[UUID] = mapped_column(primary_key=True)
    """Id of the source's `Installation`."""
    entity_type: Mapped[str] = mapped_column(primary_key=True)
    source_id: Mapped[UUID] = mapped_column(primary_key=True)
    """Its id in the source."""
    local_id: Mapped[UUID]
    created_at: Mapped[datetime] = created()

    __table_args__ = (one_of("entity_type", EntityType, "imported_entities_entity_type"),)
