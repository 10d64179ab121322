"""Upgrades a database to the schema of this version of Relay."""

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, create_engine, text
from sqlalchemy.exc import DBAPIError

from relay_core.domain.errors import RelayError
from relay_core.store.outage import LOCK_NOT_AVAILABLE, sqlstate
from relay_core.store.schema.revision import MIGRATIONS, current_revision, head_revision, refuse_unknown


class SchemaLocked(RelayError):  # noqa: N818 - named for what it says
    """A migration did not get the lock on a table in time; nothing was changed."""

    code = "schema_locked"


LOCK_SECONDS = 10


def _config(connection: Connection | None = None) -> Config:
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    if connection is not None:
        config.attributes["connection"] = connection
    return config


def upgrade(database_url: str) -> str:
    """Apply all missing migrations in one transaction; concurrent callers wait for each other.

    Returns:
        The revision reached.

    Raises:
        SchemaMismatch: the database was migrated by a newer version of Relay.
        SchemaLocked: a table was in use for `LOCK_SECONDS`. The wait is that short because all statements that come
            later for the table wait behind the migration, so the API and the workers would stand still.
    """
    database = create_engine(database_url)
    try:
        with database.begin() as connection:
            connection.execute(text("SELECT pg_advisory_xact_lock(hashtext('relay.migrations'))"))
            refuse_unknown(current_revision(connection))
            connection.execute(text(f"SET LOCAL lock_timeout = '{LOCK_SECONDS}s'"))
            command.upgrade(_config(connection), "head")
    except DBAPIError as error:
        if sqlstate(error) != LOCK_NOT_AVAILABLE:
            raise
        raise SchemaLocked(
            f"a table was in use for {LOCK_SECONDS} s, so nothing was changed: end the long transaction "
            "(pg_stat_activity shows it), or stop the API and the workers, then run: relay db upgrade"
        ) from error
    finally:
        database.dispose()
    return head_revision()
