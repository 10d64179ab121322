"""Add advice to an error message that shows that the model provider refused the key."""

import re

_KEY_REFUSED = re.compile(r"AuthenticationError|PermissionDenied|\b40[13]\b|api[ _]key", re.IGNORECASE)
_ADVICE = "give the run a valid key of the model's provider (OPENAI_API_KEY, …) in `env` or `secrets`"


def with_key_advice(error: str) -> str:
    """Return the error message; if it reports a refused key, advice about the provider's key is appended."""
    return f"{error}: {_ADVICE}" if _KEY_REFUSED.search(error) else error
