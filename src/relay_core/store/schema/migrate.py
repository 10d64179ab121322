"""Upgrades a database to the schema of this version of Relay, and checks that a database has it."""

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, create_engine, text
from sqlalchemy.exc import DBAPIError

from relay_core.domain.errors import RelayError
from relay_core.store.outage import LOCK_NOT_AVAILABLE, sqlstate


class SchemaMismatch(RelayError):  # noqa: N818 - named for what it says
    """The database does not have the schema that this version of Relay needs."""

    code = "schema_mismatch"


class SchemaLocked(RelayError):  # noqa: N818 - named for what it says
    """A migration did not get the lock on a table in time; nothing was changed."""

    code = "schema_locked"


LOCK_SECONDS = 10


def _config(connection: Connection | None = None) -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    if connection is not None:
        config.attributes["connection"] = connection
    return config


def head_revision() -> str:
    """Return the revision of the schema that this code needs."""
    head = ScriptDirectory.from_config(_config()).get_current_head()
    if head is None:  # pragma: no cover - a broken installation
        raise SchemaMismatch("this installation of Relay contains no migrations; install it again")
    return head


def current_revision(connection: Connection) -> str | None:
    """Return the revision of the database's schema; None for an empty database."""
    return MigrationContext.configure(connection).get_current_revision()


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
            _refuse_unknown(current_revision(connection))
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


def check_schema(connection: Connection) -> None:
    """Check that the database has the schema of this version.

    Raises:
        SchemaMismatch: the message names both revisions and what to run.
    """
    found = current_revision(connection)
    _refuse_unknown(found)
    if found != head_revision():
        raise SchemaMismatch(
            f"the database's schema is {found or 'empty'}, this version of Relay needs {head_revision()}; "
            "run: relay db upgrade"
        )


def _refuse_unknown(found: str | None) -> None:
    known = {script.revision for script in ScriptDirectory.from_config(_config()).walk_revisions()}
    if found is not None and found not in known:
        raise SchemaMismatch(
            f"the database's schema {found} is not known to this version of Relay: it was made by a newer one; "
            "install that version"
        )
