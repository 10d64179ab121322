"""The bridge network that all workspace containers of a node share. It blocks traffic between containers."""

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
    """Return the id of the bridge network ``name``; create it if it does not exist.

    All workspaces share one bridge, because an engine has address ranges for only about thirty. If two workers create a
    network of the same name at the same moment, an engine may keep both and then rejects the name as ambiguous. So
    every worker uses the id of the oldest network of that name.

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
        if error.status_code != 409:  # another worker has created it meanwhile
            raise
        return _named(api, name)
    found = _named(api, name)
    if found[0]["Id"] != made:
        with suppress(APIError):
            api.remove_network(made)
    return found


def _named(api: docker.APIClient, name: str) -> list[dict[str, Any]]:
    """Return the networks of exactly that name, the oldest first."""
    found = [network for network in api.networks(names=[name]) if network["Name"] == name]
    return sorted(found, key=lambda network: (network["Created"], network["Id"]))
