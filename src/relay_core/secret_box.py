"""Encrypt stored secrets with Fernet (AES-CBC and HMAC); each ciphertext is valid for one project and name only.

The first key encrypts and all keys decrypt, so an operator replaces a key by putting the new key in front.
"""

import json
from collections.abc import Sequence
from typing import NamedTuple
from uuid import UUID

from cryptography.fernet import Fernet, InvalidToken, MultiFernet

from relay_core.domain.errors import Conflict, RelayError
from relay_core.settings import Settings


class SecretsNotConfigured(Conflict):
    """Raised when this process has no key to encrypt or decrypt secrets."""

    code = "secrets_not_configured"

    def __init__(self) -> None:
        super().__init__(
            "this server has no key for secrets; set RELAY_SECRET_KEYS (or RELAY_SECRET_KEYS_FILE) for the API and "
            "all workers; `openssl rand -base64 32` makes a key"
        )


class Undecryptable(RelayError):  # noqa: N818 - named for what it says
    """Raised when no key decrypts a secret, or when the secret was encrypted for another project or name."""

    code = "secret_undecryptable"


class SecretName(NamedTuple):
    """The project and name that a ciphertext is bound to."""

    project_id: UUID
    name: str


def of_file(project_id: UUID, repo_id: UUID, path: str) -> SecretName:
    """Return the name to which the ciphertext of a stored file is bound; no secret can have it, for its colons."""
    return SecretName(project_id, f"file:{repo_id}:{path}")


class SecretBox:
    """Encrypts and decrypts the values of secrets.

    Args:
        keys: keys in URL-safe base64; the first encrypts, all decrypt. Without keys, `seal`, `open` and `check` raise
            `SecretsNotConfigured`.
    """

    def __init__(self, keys: Sequence[str]) -> None:
        self._fernet = MultiFernet([Fernet(key) for key in keys]) if keys else None

    @classmethod
    def of(cls, settings: Settings) -> "SecretBox":
        """Return a box with the keys in the settings."""
        return cls(settings.all_secret_keys)

    def seal(self, of: SecretName, value: str) -> bytes:
        """Return the ciphertext of ``value``, bound to the project and name ``of``.

        Raises:
            SecretsNotConfigured: this process has no key.
        """
        text = {"project_id": str(of.project_id), "name": of.name, "value": value}
        return self._ready().encrypt(json.dumps(text).encode())

    def open(self, of: SecretName, ciphertext: bytes) -> str:
        """Return the value of a ciphertext that `seal` made for the same project and name.

        Raises:
            SecretsNotConfigured: this process has no key.
            Undecryptable: no key decrypts the ciphertext, or it was made for another project or name.
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
        """Do nothing if this process has a key for secrets.

        Raises:
            SecretsNotConfigured: this process has no key.
        """
        self._ready()

    def _ready(self) -> MultiFernet:
        if self._fernet is None:
            raise SecretsNotConfigured
        return self._fernet
