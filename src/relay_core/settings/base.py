"""The base class and the types that all groups of settings share."""

from typing import Annotated

from pydantic import BeforeValidator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict


def _split(value: object) -> object:
    """Return the comma-separated words of a text, stripped; return any other value unchanged."""
    return tuple(word.strip() for word in value.split(",") if word.strip()) if isinstance(value, str) else value


Words = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_split)]
"""A tuple of words; in the environment one text, with commas between the words."""


class SettingsGroup(BaseSettings):
    """Base class of a group of related settings; `Settings` combines the fields of all groups."""

    model_config = SettingsConfigDict(
        env_prefix="RELAY_",
        frozen=True,
        extra="ignore",
        env_ignore_empty=True,
        defer_build=True,  # only `Settings` is ever made: building each group takes 0.1 s
    )
