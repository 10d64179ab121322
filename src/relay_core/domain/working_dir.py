"""Checks the directories in which scripts and the agent run: in a repository, or among the clones of a workspace."""

from collections.abc import Collection

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


ALL_CLONES = "."
"""Stands for the directory that has all clones of a workspace."""


def normal_agent_dir(text: str, field: str) -> str:
    """Return the working directory of an agent without needless parts: `NAME`, `NAME/sub/directory`, or `.` for all.

    Raises:
        InvalidInput: the path is absolute or leaves the directory of the clones.
    """
    parts = [part for part in text.split("/") if part not in {"", "."}]
    if text.startswith("/") or ".." in parts:
        message = (
            f"{field} is a directory among the clones, relative and without '..': the name of a repository, as app, "
            "or a directory in it, as app/services/api"
        )
        raise InvalidInput(message, code="validation_failed", field=field)
    return "/".join(parts) or ALL_CLONES


def check_agent_dir(path: str, clones: Collection[str], field: str) -> None:
    """Raise an error unless a normal path begins with the name of a clone, or is `.`.

    Raises:
        InvalidInput: it does not; the message lists the clones.
    """
    first = path.partition("/")[0]
    if path != ALL_CLONES and first not in clones:
        names = ", ".join(sorted(clones))
        message = f"{path} is in no repository of the workspace; begin with the name of one: {names}"
        raise InvalidInput(message, code="validation_failed", field=field)
