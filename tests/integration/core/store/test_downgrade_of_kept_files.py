"""A downgrade to a Relay that knows no kept files is refused while there are any, as it would leave them forever."""

import pytest
from alembic import command
from sqlalchemy import text

from relay_core.store.schema.migrate import _config, upgrade
from relay_core.store.transaction import Database
from tests.support.store_acts import submit


def downgrade(db: Database) -> None:
    with db.begin() as connection:
        command.downgrade(_config(connection), "0059")


def test_kept_files_refuse_the_downgrade(db: Database, database_url: str) -> None:
    workspace = submit(db).workspace_id
    of_it = {"id": workspace}
    with db.begin() as connection:
        put_away = "deleted_at = now(), quarantine = 'kept', container_ref = '/data/workspaces/.quarantine/w'"
        connection.execute(text(f"UPDATE workspaces SET {put_away} WHERE id = :id"), of_it)
    with pytest.raises(RuntimeError, match=r"the files of 1 deleted workspaces.*relay workspace quarantine.*purge"):
        downgrade(db)
    with db.begin() as connection:
        assert connection.scalar(text("SELECT quarantine FROM workspaces WHERE id = :id"), of_it) == "kept"
        connection.execute(text("UPDATE workspaces SET quarantine = NULL, container_ref = NULL WHERE id = :id"), of_it)
    downgrade(db)
    upgrade(database_url)
    with db.connect() as connection:
        assert connection.scalar(text("SELECT quarantine FROM workspaces WHERE id = :id"), of_it) is None
