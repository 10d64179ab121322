"""The token and the Flower password of the local stack: made once, kept for its owner only."""

import json
import secrets
from dataclasses import asdict, dataclass
from pathlib import Path

from sqlalchemy import create_engine

from relay_cli.stack.private_file import write_private
from relay_core.domain.vocabulary import Scope
from relay_core.postgres.tokens import create_token, find_principal


@dataclass(frozen=True)
class LocalSecrets:
    """What a person needs to get in."""

    token: str
    flower_password: str


def ensure_secrets(data_dir: Path, database_url: str) -> LocalSecrets:
    """Those of the last start where the database still knows the token, else new ones."""
    file = data_dir / "secrets.json"
    if file.exists():
        kept = LocalSecrets(**json.loads(file.read_text()))
        if _is_known(database_url, kept.token):
            return kept
    token = create_token(database_url, owner="local", scopes=[Scope.ADMIN])
    made = LocalSecrets(token=token, flower_password=secrets.token_urlsafe(18))
    write_private(file, json.dumps(asdict(made)))
    return made


def _is_known(database_url: str, token: str) -> bool:
    engine = create_engine(database_url)
    with engine.connect() as connection:
        known = find_principal(connection, token) is not None
    engine.dispose()
    return known
