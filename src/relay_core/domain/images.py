"""Which image a workspace gets: request → project → server default, checked against the server's allow-list."""

from collections.abc import Sequence
from fnmatch import fnmatchcase

from relay_core.domain.errors import InvalidInput


def resolve_image(requested: str | None, project_default: str | None, server_default: str) -> str:
    """The first one given."""
    return requested or project_default or server_default


def check_allowed(image: str, allowed: Sequence[str]) -> None:
    """Refuse an image that no pattern of a non-empty allow-list matches.

    Raises:
        InvalidInput: `image_not_allowed`.
    """
    if allowed and not any(fnmatchcase(image, pattern) for pattern in allowed):
        raise InvalidInput(
            f"image {image!r} is not on this server's list; allowed: {', '.join(allowed)}",
            code="image_not_allowed",
            field="image",
        )
