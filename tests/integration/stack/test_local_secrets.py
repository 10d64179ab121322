"""The secrets that the local stack makes once and keeps over its starts."""

import json
import stat
from pathlib import Path

from sqlalchemy import text

from relay_core.secret_box import SecretBox
from relay_core.settings import Settings
from relay_core.store.transaction import Database
from relay_stack.files.local_secrets import ensure_secrets


def test_they_are_made_once_and_the_key_outlives_the_token(tmp_path: Path, database_url: str, database: Database):
    first = ensure_secrets(tmp_path, database_url)
    SecretBox(Settings(secret_keys=first.secret_key).secret_keys).check()
    assert ensure_secrets(tmp_path, database_url) == first
    assert stat.S_IMODE((tmp_path / "secrets.json").stat().st_mode) == 0o600
    with database.begin() as connection:
        connection.execute(text("DELETE FROM tokens"))
    second = ensure_secrets(tmp_path, database_url)
    assert second.secret_key == first.secret_key, "or what it has encrypted is lost"
    assert second.token != first.token


def test_what_an_older_version_kept_gets_a_key(tmp_path: Path, database_url: str):
    file = tmp_path / "secrets.json"
    made = ensure_secrets(tmp_path, database_url)
    file.write_text(json.dumps({"token": made.token, "flower_password": made.flower_password}))
    again = ensure_secrets(tmp_path, database_url)
    assert (again.token, again.flower_password) == (made.token, made.flower_password)
    assert len(again.secret_key) == 44
    assert ensure_secrets(tmp_path, database_url) == again
