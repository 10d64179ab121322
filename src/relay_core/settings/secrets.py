"""Settings of the keys that encrypt the stored secrets of projects."""

import base64
from collections.abc import Sequence
from pathlib import Path

from pydantic import Field, field_validator

from relay_core.settings.base import SettingsGroup, Words

SECRET_KEY_BYTES = 32
_URL_SAFE = str.maketrans("+/", "-_")


class SecretSettings(SettingsGroup):
    """Encryption keys from the environment and from a file."""

    secret_keys: Words = Field(
        (),
        repr=False,
        description="Keys that encrypt the secrets of projects, each 32 bytes in base64 "
        "(`openssl rand -base64 32`). The first key encrypts, all keys decrypt: to replace a key, put the new key in "
        "front. Set the same keys for the API and all workers.",
    )
    secret_keys_file: Path | None = Field(
        None, description="File with further keys, one a line. Use it to keep keys out of the environment."
    )

    @field_validator("secret_keys")
    @classmethod
    def _are_keys(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        return checked_keys(value)

    @field_validator("secret_keys_file")
    @classmethod
    def _has_keys(cls, value: Path | None) -> Path | None:
        if value is not None:
            keys_in(value)
        return value

    @property
    def all_secret_keys(self) -> tuple[str, ...]:
        """All keys: first those of `secret_keys`, then those of the file."""
        return (*self.secret_keys, *(keys_in(self.secret_keys_file) if self.secret_keys_file else ()))


def checked_keys(given: Sequence[str]) -> tuple[str, ...]:
    """Return the keys in the URL-safe alphabet of base64.

    Raises:
        ValueError: a text is not a key. The message gives its position and says how to make a key, but repeats no key.
    """
    keys = tuple(key.translate(_URL_SAFE) for key in given)
    for number, key in enumerate(keys, 1):
        try:
            size = len(base64.b64decode(key, altchars=b"-_", validate=True))
        except ValueError:
            size = -1
        if size != SECRET_KEY_BYTES:
            raise ValueError(
                f"key {number} is not {SECRET_KEY_BYTES} bytes in base64; make one: openssl rand -base64 32"
            )
    return keys


def keys_in(file: Path) -> tuple[str, ...]:
    """Return the keys in a file, in the URL-safe alphabet of base64.

    Raises:
        ValueError: the file cannot be read, holds no key, or holds a text that is not a key.
    """
    try:
        keys = checked_keys(file.read_text().split())
    except OSError as error:
        raise ValueError(f"{file} cannot be read: {error.strerror}") from error
    if not keys:
        raise ValueError(f"{file} holds no key")
    return keys
