"""Changes of a run that a client asks for: its title, labels and metadata, and its end."""

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, select, update
from sqlalchemy.orm import InstrumentedAttribute

from relay_core.domain.errors import NotFound
from relay_core.domain.run_notes import check_labels, check_metadata, merged
from relay_core.domain.vocabulary import ACTIVE
from relay_core.store.executions.kill import kill
from relay_core.store.schema.tables import ExecutionProcess, Run
from relay_core.store.workspaces import lane

E = ExecutionProcess
TITLE, LABELS, METADATA = "title", "labels", "metadata"


def change(connection: Connection, run_id: UUID, patch: Mapping[str, Any]) -> None:
    """Change title, labels and metadata of a run by a merge patch (RFC 7396).

    Args:
        connection: one transaction.
        run_id: a run that the caller may see.
        patch: new values by the names `title`, `labels` and `metadata`; what it does not name stays.

    Raises:
        NotFound: there is no such run.
        InvalidInput: the changed labels or metadata cannot be stored.
    """
    stored = select(Run.labels, Run.details.label("details")).where(Run.id == run_id).with_for_update()
    row = connection.execute(stored).one_or_none()
    if row is None:
        raise NotFound(f"there is no run {run_id}")
    values: dict[InstrumentedAttribute[Any], Any] = {}
    if patch.get(TITLE) is not None:
        values[Run.title] = patch[TITLE]
    if LABELS in patch:
        values[Run.labels] = merged(row.labels, patch[LABELS])
        check_labels(values[Run.labels])
    if METADATA in patch:
        values[Run.details] = merged(row.details, patch[METADATA])
        check_metadata(values[Run.details])
    if values:
        connection.execute(update(Run).where(Run.id == run_id).values(values))


def cancel(connection: Connection, run_id: UUID, by: str) -> int:
    """Request a kill of all queued and running executions of a run. For a completed run nothing is done.

    Args:
        connection: one transaction of `Database`.
        run_id: a run that the caller may see.
        by: who asks; stored with the kills.

    Returns:
        How many of its executions are running; the run ends when they have.
    """
    workspace_id = connection.execute(select(Run.workspace_id).where(Run.id == run_id)).scalar_one()
    lane.lock(connection, workspace_id)  # no step group ends or begins from now on
    active = select(E.id).where(E.run_id == run_id, E.status.in_(ACTIVE)).order_by(E.lane_position.desc(), E.id)
    ids = list(connection.scalars(active))
    return kill(connection, ids, by)
