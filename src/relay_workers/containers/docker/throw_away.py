"""Runs one command in a container that is removed right after it."""

from collections.abc import Sequence

import requests
from docker.errors import DockerException

from relay_core.domain.errors import RelayError
from relay_workers.containers.docker.client import connect_high_level


def output_of(configured: str | None, image: str, command: Sequence[str]) -> str:
    """Run a command in a container without a network, and return its output.

    Args:
        configured: the address of the engine; None to search for one.
        image: an image on this node.
        command: the command, run without the image's entrypoint.

    Raises:
        RelayError: no engine answers, it has no such image, or the command fails.
    """
    client = connect_high_level(configured)
    try:
        container = client.containers.create(image, list(command), entrypoint=[], network_disabled=True)
        try:  # `containers.run(remove=True)` would leave a container that does not start
            container.start()
            code = container.wait()["StatusCode"]
            printed = container.logs(stdout=True, stderr=False)
        finally:
            container.remove(force=True)
    except (DockerException, requests.RequestException) as error:
        raise RelayError(f"the image {image} cannot be examined: {error}") from error
    finally:
        client.close()
    text = bytes(printed).decode(errors="replace")
    if code:
        raise RelayError(f"the image {image} cannot be examined: exit code {code}: {text[-500:]}")
    return text
