"""Checks the address of an image's registry before the engine sends any request to the registry."""

import socket
import urllib.request
from threading import Event, Thread

from relay_core.domain.errors import InvalidInput, StepFailed
from relay_core.domain.git.url import classify_addresses
from relay_core.domain.images import needs_vetting, registry_host
from relay_core.domain.vocabulary import Reason
from relay_core.settings import Settings
from relay_workers.containers.docker.pull import unavailable

_POLL_SECONDS = 0.1
_RESOLVE_SECONDS = 20.0


def vet_registry(image: str, settings: Settings, cancelled: Event) -> None:
    """Return if the engine may contact this image's registry, else raise; behind a proxy, the proxy's rules decide.

    Not detected: a name that resolves to another address when the engine looks it up, and a public registry that
    redirects to a private address. The operator of a server for untrusted clients should list the permitted images in
    RELAY_ALLOWED_IMAGES.

    Raises:
        StepFailed: ``image_unavailable``: the registry is at a private address, or its name cannot be resolved.
            ``user``: the check was cancelled.
    """
    host = registry_host(image)
    if host is None or not needs_vetting(image, settings.remote_policy, settings.trusted_images):
        return
    if urllib.request.getproxies_environment().get("https") and not urllib.request.proxy_bypass(host):
        return
    addresses = _resolve(host, image, cancelled)
    if not addresses:
        raise unavailable(image, "the name of its registry cannot be resolved")
    try:
        classify_addresses(addresses, settings.remote_policy)
    except InvalidInput as error:
        raise unavailable(image, "its registry is at a private, loopback or reserved address") from error


def _resolve(host: str, image: str, cancelled: Event) -> list[str]:
    """Return the addresses of a host; an empty list if it cannot be resolved in time.

    The system's resolver cannot be interrupted, so it runs in a thread.

    Raises:
        StepFailed: ``user``: the check was cancelled.
    """
    found: list[str] = []

    def ask() -> None:
        try:
            found.extend(str(answer[4][0]) for answer in socket.getaddrinfo(host, 443, type=socket.SOCK_STREAM))
        except OSError:
            return

    thread = Thread(target=ask, name="resolve", daemon=True)
    thread.start()
    for _ in range(int(_RESOLVE_SECONDS / _POLL_SECONDS)):
        thread.join(_POLL_SECONDS)
        if not thread.is_alive():
            break
        if cancelled.is_set():
            raise StepFailed(Reason.USER, f"killed while the registry of image {image!r} was being resolved")
    return found
