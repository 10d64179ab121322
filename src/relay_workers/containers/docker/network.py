"""The bridge that all workspace containers of a node share, without traffic between them."""

import threading
from contextlib import suppress
from typing import Any

import docker
from docker.errors import APIError

from relay_core.domain.errors import StepFailed
from relay_core.domain.vocabulary import Reason

_ICC = "com.docker.network.bridge.enable_icc"
_making = threading.Lock()


def ensure_network(api: docker.APIClient, name: str) -> str:
    """The id of the bridge ``name``, made where it does not exist.

    All workspaces share one bridge, as an engine has address ranges for about thirty. An engine lets two networks have
    one name when they are made at the same moment, and refuses the name from then on. So every worker takes the oldest
    network of the name, and uses its id.

    Raises:
        StepFailed: ``engine_error``: a network of that name lets its containers talk to each other.
        docker.errors.APIError: the engine refused.
    """
    found = _named(api, name)
    if not found:
        with _making:
            found = _named(api, name) or _make(api, name)
    oldest = found[0]
    if str((oldest.get("Options") or {}).get(_ICC, "true")).lower() != "false":
        message = (
            f"the network {name!r} lets its containers talk to each other ({_ICC} is not false); "
            "remove it, or name another in RELAY_CONTAINER_NETWORK"
        )
        raise StepFailed(Reason.ENGINE_ERROR, message)
    return str(oldest["Id"])


def _make(api: docker.APIClient, name: str) -> list[dict[str, Any]]:
    try:
        made = api.create_network(name, driver="bridge", options={_ICC: "false"}, check_duplicate=True)["Id"]
    except APIError as error:
        if error.status_code != 409:  # made by another worker meanwhile
            raise
        return _named(api, name)
    found = _named(api, name)
    if found[0]["Id"] != made:
        with suppress(APIError):
            api.remove_network(made)
    return found


def _named(api: docker.APIClient, name: str) -> list[dict[str, Any]]:
    """The networks of exactly that name, the oldest first."""
    found = [network for network in api.networks(names=[name]) if network["Name"] == name]
    return sorted(found, key=lambda network: (network["Created"], network["Id"]))
