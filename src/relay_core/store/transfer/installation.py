"""The id of this Relay, by which another one knows it."""

from uuid import UUID, uuid4

from sqlalchemy import Connection, select
from sqlalchemy.dialects.postgresql import insert

from relay_core.store.schema.tables import Installation


def installation_id(connection: Connection) -> UUID:
    """Return the id of this Relay; the first call of all makes it.

    Args:
        connection: a transaction that may write.
    """
    found: UUID | None = connection.scalar(select(Installation.id))
    if found is None:
        connection.execute(insert(Installation).values(id=uuid4()).on_conflict_do_nothing())
        found = connection.execute(select(Installation.id)).scalar_one()
    return found
