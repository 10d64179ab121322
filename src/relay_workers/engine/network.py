"""The bridge that all workspace containers of a node share, without traffic between them."""

import docker
from docker.errors import APIError, NotFound

from relay_core.domain.errors import StepFailed
from relay_core.domain.vocabulary import Reason

_ICC = "com.docker.network.bridge.enable_icc"


def ensure_network(api: docker.APIClient, name: str) -> None:
    """Make the bridge ``name`` where it does not exist; one for all, as a bridge each exhausts the address pools.

    Raises:
        StepFailed: ``engine_error``, a network of that name lets its containers talk to each other.
        docker.errors.APIError: the engine refused.
    """
    try:
        found = api.inspect_network(name)
    except NotFound:
        try:
            api.create_network(name, driver="bridge", options={_ICC: "false"}, check_duplicate=True)
        except APIError as error:
            if error.status_code != 409:  # made by another worker meanwhile
                raise
        return
    if str((found.get("Options") or {}).get(_ICC, "true")).lower() != "false":
        message = (
            f"the network {name!r} lets its containers talk to each other ({_ICC} is not false); "
            "remove it, or name another in RELAY_CONTAINER_NETWORK"
        )
        raise StepFailed(Reason.ENGINE_ERROR, message)
