"""Which image a workspace gets: request → project → server default, checked against what the server allows."""

from collections.abc import Sequence
from fnmatch import fnmatchcase

from relay_core.domain.errors import InvalidInput
from relay_core.domain.git.url import RemotePolicy, why_not_public


def resolve_image(requested: str | None, project_default: str | None, server_default: str) -> str:
    """The image of the request, else the project's, else the server's."""
    return requested or project_default or server_default


def check_allowed(image: str, allowed: Sequence[str]) -> None:
    """Refuse an image that no pattern of a non-empty allow-list matches.

    Raises:
        InvalidInput: `image_not_allowed`.
    """
    if allowed and not any(fnmatchcase(image, pattern) for pattern in allowed):
        raise _not_allowed(f"image {image!r} is not on this server's list; allowed: {', '.join(allowed)}")


def registry_of(image: str) -> str | None:
    """The registry (``host`` or ``host:port``) in a reference of an image; None for a short name."""
    first, slash, _ = image.partition("/")
    names_host = "." in first or ":" in first or first == "localhost" or first != first.lower()
    return first if slash and names_host else None


def registry_host(image: str) -> str | None:
    """The host of an image's registry in lower case, without its port; None for a short name."""
    registry = registry_of(image)
    return registry.partition(":")[0].lower() if registry else None


def check_registry(image: str, policy: RemotePolicy, trusted: Sequence[str]) -> None:
    """Refuse an image whose registry is spelt like a private address, as such a git remote is refused.

    Resolves no names.

    Args:
        image: the reference that a client asks for.
        policy: which remotes may be cloned; its list of hosts is for git alone.
        trusted: images of the operator's own choice, or patterns of them; a registry that one names is allowed.

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
    """Whether the address of an image's registry has to be judged before the engine asks it for anything."""
    registry = registry_of(image)
    return registry is not None and not policy.allow_private_hosts and registry not in map(registry_of, trusted)


def _not_allowed(message: str) -> InvalidInput:
    return InvalidInput(message, code="image_not_allowed", field="image")
