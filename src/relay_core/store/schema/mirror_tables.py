"""The tables of the git mirrors and of the unused directories of nodes."""

from datetime import datetime
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import ForeignKey, Index, UniqueConstraint, func, text
from sqlalchemy.orm import Mapped, mapped_column

from relay_core.domain.directories import DirectoryFinding
from relay_core.domain.vocabulary import CloneState
from relay_core.store.schema.base import Base, created, one_of


class NodeDirectory(Base):
    """A directory of a node that looks like a workspace's and is not used; the node writes it."""

    __tablename__ = "node_directories"

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid4)
    node_id: Mapped[str] = mapped_column(ForeignKey("runtime_nodes.node_id", ondelete="CASCADE"))
    name: Mapped[str]
    """Path below the directory of the workspaces."""
    workspace_id: Mapped[UUID]
    """The workspace that its anchor names, which need not exist."""
    finding: Mapped[str]
    anchor: Mapped[dict[str, Any]]
    """The content of its anchor."""
    found_at: Mapped[datetime] = created()

    __table_args__ = (
        one_of("finding", DirectoryFinding, "node_directories_finding"),
        UniqueConstraint("node_id", "name", name="node_directories_name"),
    )


class Mirror(Base):
    """A git mirror: what one node has of one remote, fetched for one project with one credential.

    The worker that fetches writes it.
    """

    __tablename__ = "mirrors"

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid4)
    node_id: Mapped[str] = mapped_column(ForeignKey("runtime_nodes.node_id"))
    project_id: Mapped[UUID] = mapped_column(ForeignKey("projects.id"))
    credential: Mapped[str] = mapped_column(server_default="node")
    """Name of the credential; `node`: what the settings of the node's workers give, the only one there is."""
    remote: Mapped[str]
    """The remote's URL, without credentials; `Repo.path`."""
    path: Mapped[str]
    """Directory of the mirror on the node."""
    state: Mapped[str] = mapped_column(server_default=CloneState.CLONING)
    """Outcome of the last fetch; `cloning` until the first fetch has ended."""
    error: Mapped[str | None]
    """Why the last fetch failed, without credentials."""
    fetched_at: Mapped[datetime | None]
    """When a fetch last succeeded; null: the node has nothing of the remote."""
    purge_requested_at: Mapped[datetime | None]
    """When its removal was requested; the node has not done it yet."""
    created_at: Mapped[datetime] = created()
    updated_at: Mapped[datetime] = mapped_column(server_default=func.now())
    """When the worker that fetches last wrote it."""

    __table_args__ = (
        one_of("state", CloneState, "mirrors_state"),
        UniqueConstraint("node_id", "project_id", "credential", "remote", name="mirrors_of_node"),
        Index("mirrors_of_project", "project_id", "remote"),
        Index("mirrors_newest", "created_at", "id"),
        Index("mirrors_to_purge", "node_id", postgresql_where=text("purge_requested_at IS NOT NULL")),
    )
