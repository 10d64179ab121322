"""Say in one line what an error of a library means: wrong settings, an API or a database that does not answer."""

from typing import NamedTuple

import httpx
from pydantic import ValidationError

from relay_core.settings import wrong_settings
from relay_core.store.outage import DBAPIError, is_away


class Ending(NamedTuple):
    """How the command ends: what it prints on standard error, and its exit code."""

    message: str
    exit_code: int


def ending(error: Exception) -> Ending | None:
    """Return how the command ends by an error of a library. None: the error is a fault of Relay."""
    if isinstance(error, ValidationError):
        return Ending(wrong_settings(error), 2)
    if isinstance(error, httpx.TransportError):
        return Ending(str(error).splitlines()[0], 1)
    if isinstance(error, DBAPIError) and is_away(error):
        return Ending(f"the database does not answer: {str(error.orig).splitlines()[0]}", 1)
    return None
