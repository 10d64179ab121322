"""Checks the directory, inside a repository, in which its scripts and the agent run."""

from relay_core.domain.errors import InvalidInput


def normal_working_dir(text: str, field: str) -> str | None:
    """Return the path of a request without ``.`` and needless slashes; None for the root of the repository.

    Raises:
        InvalidInput: the path is absolute or leaves the repository; ``field`` is the field of the request.
    """
    parts = [part for part in text.split("/") if part not in {"", "."}]
    if text.startswith("/") or ".." in parts:
        message = "working_dir is a directory in the repository, relative to its root and without '..', as services/api"
        raise InvalidInput(message, code="validation_failed", field=field)
    return "/".join(parts) or None
