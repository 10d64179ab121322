"""Chooses the image of a workspace, and checks that the server allows it."""

from collections.abc import Sequence
from fnmatch import fnmatchcase

from relay_core.domain.errors import InvalidInput
from relay_core.domain.git.url import RemotePolicy, why_not_public


def resolve_image(requested: str | None, project_default: str | None, server_default: str) -> str:
    """Return the image that the request names, else the project's default, else the server's default."""
    return requested or project_default or server_default


def check_allowed(image: str, allowed: Sequence[str]) -> None:
    """Refuse an image if there is an allow-list and none of its patterns matches.

    Raises:
        InvalidInput: `image_not_allowed`.
    """
    if allowed and not any(fnmatchcase(image, pattern) for pattern in allowed):
        raise _not_allowed(f"image {image!r} is not on this server's list; allowed: {', '.join(allowed)}")


def registry_of(image: str) -> str | None:
    """Return the registry (``host`` or ``host:port``) in an image reference; None for a short name."""
    first, slash, _ = image.partition("/")
    names_host = "." in first or ":" in first or first == "localhost" or first != first.lower()
    return first if slash and names_host else None


def registry_host(image: str) -> str | None:
    """Return the host of an image's registry in lower case, without its port; None for a short name."""
    registry = registry_of(image)
    return registry.partition(":")[0].lower() if registry else None


def check_registry(image: str, policy: RemotePolicy, trusted: Sequence[str]) -> None:
    """Refuse an image whose registry is written as a private address or as an internal name.

    Git remotes on such hosts are refused in the same way. Only the spelling is checked: no name is resolved.

    Args:
        image: the reference that a client asks for.
        policy: whether private hosts are allowed; its list of allowed hosts is for git alone.
        trusted: images that the operator has configured, or patterns of images; their registries are allowed.

    Raises:
        InvalidInput: `image_not_allowed`.
    """
    host = registry_host(image)
    if host is None or not needs_vetting(image, policy, trusted):
        return
    try:
        problem = why_not_public(host)
    except InvalidInput:
        problem = "cannot be read"
    if problem:
        raise _not_allowed(f"the registry of image {image!r} {problem}; this server pulls from public registries only")


def needs_vetting(image: str, policy: RemotePolicy, trusted: Sequence[str]) -> bool:
    """Return whether the address of an image's registry must be checked before the engine contacts it.

    Not needed for a short name, for the registry of a trusted image, and if private hosts are allowed.
    """
    registry = registry_of(image)
    return registry is not None and not policy.allow_private_hosts and registry not in map(registry_of, trusted)


def _not_allowed(message: str) -> InvalidInput:
    return InvalidInput(message, code="image_not_allowed", field="image")
