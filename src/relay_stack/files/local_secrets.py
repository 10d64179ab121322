"""The token, the Flower password and the key of the local stack: made once, kept for its owner only."""

import json
import secrets
from dataclasses import asdict, dataclass
from pathlib import Path

from cryptography.fernet import Fernet
from sqlalchemy import create_engine

from relay_core.domain.vocabulary import Scope
from relay_core.store.tokens import create_token, find_principal
from relay_stack.files.private_file import write_private


@dataclass(frozen=True)
class LocalSecrets:
    """What a person needs to get in, and what stored secrets are encrypted with."""

    token: str
    flower_password: str
    secret_key: str


def ensure_secrets(data_dir: Path, database_url: str) -> LocalSecrets:
    """Those of the last start; a new token and password where the database does not know the token.

    The key is never replaced: what it has encrypted would be lost.
    """
    file = data_dir / "secrets.json"
    kept = json.loads(file.read_text()) if file.exists() else {}
    if not ("token" in kept and _is_known(database_url, kept["token"])):
        kept["token"] = create_token(database_url, owner="local", scopes=[Scope.ADMIN])
        kept["flower_password"] = secrets.token_urlsafe(18)
    kept.setdefault("secret_key", Fernet.generate_key().decode())
    made = LocalSecrets(**kept)
    write_private(file, json.dumps(asdict(made)))
    return made


def _is_known(database_url: str, token: str) -> bool:
    engine = create_engine(database_url)
    with engine.connect() as connection:
        known = find_principal(connection, token) is not None
    engine.dispose()
    return known
