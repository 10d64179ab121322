"""Bring a database to this version's schema, or say that it is not there."""

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, create_engine, text

from relay_core.domain.errors import RelayError


class SchemaMismatch(RelayError):  # noqa: N818 - named for what it says
    """The database's schema is not the one this version of Relay works with."""

    code = "schema_mismatch"


def _config(connection: Connection | None = None) -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    if connection is not None:
        config.attributes["connection"] = connection
    return config


def head_revision() -> str:
    """The revision that this code needs."""
    head = ScriptDirectory.from_config(_config()).get_current_head()
    if head is None:  # pragma: no cover - a broken installation
        raise SchemaMismatch("this installation of Relay contains no migrations; install it again")
    return head


def current_revision(connection: Connection) -> str | None:
    """The database's revision; None for an empty database."""
    return MigrationContext.configure(connection).get_current_revision()


def upgrade(database_url: str) -> str:
    """Apply all missing migrations in one transaction (concurrent callers wait for each other).

    Returns:
        The revision reached.

    Raises:
        SchemaMismatch: the database was migrated by a newer version of Relay.
    """
    engine = create_engine(database_url)
    with engine.begin() as connection:
        connection.execute(text("SELECT pg_advisory_xact_lock(hashtext('relay.migrations'))"))
        _refuse_unknown(current_revision(connection))
        command.upgrade(_config(connection), "head")
    engine.dispose()
    return head_revision()


def check_schema(connection: Connection) -> None:
    """Refuse to work on any other schema than ours.

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
