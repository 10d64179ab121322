"""Tables of the admission of runs: limits on concurrent runs, and turns."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import CheckConstraint
from sqlalchemy.orm import Mapped, mapped_column

from relay_core.store.schema.base import Base


class RunLimit(Base):
    """The most runs that may be at work at once for a project, an owner or a pool."""

    __tablename__ = "run_limits"

    kind: Mapped[str] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(primary_key=True)
    """Id of a project, an owner or a pool; `*`: each one that has no limit of its own."""
    max_runs: Mapped[int]

    __table_args__ = (
        CheckConstraint("kind IN ('project', 'owner', 'pool')", name="run_limits_kind"),
        CheckConstraint("max_runs >= 0", name="run_limits_max_runs"),
    )


class AdmissionTurn(Base):
    """When a run of a project and owner was last admitted: the one that was served longest ago is next."""

    __tablename__ = "admission_turns"

    project_id: Mapped[UUID] = mapped_column(primary_key=True)
    owner: Mapped[str] = mapped_column(primary_key=True)
    served_at: Mapped[datetime]

    __table_args__ = ({"postgresql_with": {"fillfactor": 50}},)
