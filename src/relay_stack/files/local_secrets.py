"""Token, Flower password and encryption key of the local stack, stored in a file that only its owner can read."""

import json
import secrets
from dataclasses import asdict, dataclass
from pathlib import Path

from cryptography.fernet import Fernet

from relay_core.domain.vocabulary import Scope
from relay_core.store.tokens import create_token, is_known
from relay_stack.files.private_file import write_private


@dataclass(frozen=True)
class LocalSecrets:
    """Secrets of one local stack.

    Attributes:
        token: bearer token of the API, with the scope admin.
        flower_password: password of Flower's page.
        secret_key: key that encrypts the secrets of projects in the database.
    """

    token: str
    flower_password: str
    secret_key: str


def ensure_secrets(data_dir: Path, database_url: str) -> LocalSecrets:
    """Return the secrets of the last start; generate those that are missing.

    If the database does not know the token, a new token and a new Flower password replace the old ones. The key is
    never replaced, because the secrets that it has encrypted would be lost.
    """
    file = data_dir / "secrets.json"
    kept = json.loads(file.read_text()) if file.exists() else {}
    if not ("token" in kept and is_known(database_url, kept["token"])):
        kept["token"] = create_token(database_url, owner="local", scopes=[Scope.ADMIN])
        kept["flower_password"] = secrets.token_urlsafe(18)
    kept.setdefault("secret_key", Fernet.generate_key().decode())
    local = LocalSecrets(**kept)
    write_private(file, json.dumps(asdict(local)))
    return local
