"""Encryption of stored secrets: Fernet (AES-CBC and HMAC), each ciphertext bound to a project and a name.

The first key encrypts; all of them decrypt, so a key is replaced by putting the new one in front.
"""

import json
from collections.abc import Sequence
from typing import NamedTuple
from uuid import UUID

from cryptography.fernet import Fernet, InvalidToken, MultiFernet

from relay_core.domain.errors import Conflict, RelayError
from relay_core.settings import Settings


class SecretsNotConfigured(Conflict):
    """This server has no key."""

    code = "secrets_not_configured"

    def __init__(self) -> None:
        super().__init__(
            "this server has no key for secrets; set RELAY_SECRET_KEYS (or RELAY_SECRET_KEYS_FILE) for the API and "
            "all workers; `openssl rand -base64 32` makes a key"
        )


class Undecryptable(RelayError):  # noqa: N818 - named for what it says
    """No key fits, or the ciphertext is of another project or name."""

    code = "secret_undecryptable"


class SecretName(NamedTuple):
    """What a ciphertext is bound to."""

    project_id: UUID
    name: str


class SecretBox:
    """Seals and opens values.

    Args:
        keys: as `RELAY_SECRET_KEYS` has them; may be none.
    """

    def __init__(self, keys: Sequence[str]) -> None:
        self._fernet = MultiFernet([Fernet(key) for key in keys]) if keys else None

    @classmethod
    def of(cls, settings: Settings) -> "SecretBox":
        """With the keys of this process."""
        return cls(settings.all_secret_keys)

    def seal(self, of: SecretName, value: str) -> bytes:
        """The ciphertext of a value.

        Raises:
            SecretsNotConfigured: there is no key.
        """
        text = {"project_id": str(of.project_id), "name": of.name, "value": value}
        return self._ready().encrypt(json.dumps(text).encode())

    def open(self, of: SecretName, ciphertext: bytes) -> str:
        """The value that was sealed for that project and name.

        Raises:
            SecretsNotConfigured: there is no key.
            Undecryptable: no key fits, or it was sealed for another place.
        """
        try:
            text = json.loads(self._ready().decrypt(ciphertext))
        except InvalidToken as error:
            raise Undecryptable(f"no key of RELAY_SECRET_KEYS decrypts the secret {of.name}") from error
        if (text["project_id"], text["name"]) != (str(of.project_id), of.name):
            raise Undecryptable(f"what is stored as the secret {of.name} was not stored as that")
        value: str = text["value"]
        return value

    def check(self) -> None:
        """Refuse what needs a key where there is none.

        Raises:
            SecretsNotConfigured: there is no key.
        """
        self._ready()

    def _ready(self) -> MultiFernet:
        if self._fernet is None:
            raise SecretsNotConfigured
        return self._fernet
