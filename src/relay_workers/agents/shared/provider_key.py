"""Advice for agents that may use any model provider, when an error shows that the provider refused the key."""

import re

_KEY_REFUSED = re.compile(r"AuthenticationError|PermissionDenied|\b40[13]\b|api[ _]key", re.IGNORECASE)
_ADVICE = "give the run a valid key of the model's provider (OPENAI_API_KEY, …) in `env` or `secrets`"


def with_key_advice(error: str) -> str:
    """Return the error message, followed by advice about the provider's key if the message is about one."""
    return f"{error}: {_ADVICE}" if _KEY_REFUSED.search(error) else error
