"""Checks that a database has the schema of this version of Relay, without loading the tool that migrates it."""

from pathlib import Path

from sqlalchemy import Connection, text

from relay_core.domain.errors import RelayError

MIGRATIONS = Path(__file__).parent / "migrations"


class SchemaMismatch(RelayError):  # noqa: N818 - named for what it says
    """The database does not have the schema that this version of Relay needs."""

    code = "schema_mismatch"


def known_revisions() -> list[str]:
    """Return the revisions of the schema, oldest first: the numbers at the beginning of the migrations' file names.

    Raises:
        SchemaMismatch: there are no migrations.
    """
    found = sorted(path.name.partition("_")[0] for path in (MIGRATIONS / "versions").glob("[0-9]*.py"))
    if not found:  # pragma: no cover - a broken installation
        raise SchemaMismatch("this installation of Relay contains no migrations; install it again")
    return found


def head_revision() -> str:
    """Return the revision of the schema that this code needs."""
    return known_revisions()[-1]


def current_revision(connection: Connection) -> str | None:
    """Return the revision of the database's schema; None for an empty database."""
    if connection.execute(text("SELECT to_regclass('alembic_version')")).scalar_one() is None:
        return None
    found: str | None = connection.execute(text("SELECT version_num FROM alembic_version")).scalar_one_or_none()
    return found


def check_schema(connection: Connection) -> None:
    """Check that the database has the schema of this version.

    Raises:
        SchemaMismatch: the message names both revisions and what to run.
    """
    found = current_revision(connection)
    refuse_unknown(found)
    if found != head_revision():
        raise SchemaMismatch(
            f"the database's schema is {found or 'empty'}, this version of Relay needs {head_revision()}; "
            "run: relay db upgrade"
        )


def refuse_unknown(found: str | None) -> None:
    """Raise `SchemaMismatch` if a newer version of Relay has migrated the database to the revision ``found``."""
    if found is not None and found not in known_revisions():
        raise SchemaMismatch(
            f"the database's schema {found} is not known to this version of Relay: it was made by a newer one; "
            "install that version"
        )
