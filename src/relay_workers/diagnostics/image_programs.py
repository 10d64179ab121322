"""Look for programs in an image, in a container that runs nothing else and has no network."""

import os
from collections.abc import Sequence

import docker
import requests
from docker.errors import DockerException

from relay_core.domain.errors import RelayError
from relay_core.settings import get_settings
from relay_workers.agents.programs import probe
from relay_workers.containers.docker.client import find_engine


def programs_in(image: str, programs: Sequence[str]) -> set[str]:
    """Those of the programs that a shell in the image finds.

    Raises:
        RelayError: no engine answers, it has no such image, or the image has no shell.
    """
    client = docker.DockerClient(base_url=find_engine(get_settings().docker_host, os.environ))
    try:
        printed = client.containers.run(image, probe(programs), entrypoint=[], network_mode="none", remove=True)
    except (DockerException, requests.RequestException) as error:
        raise RelayError(f"the programs of the image {image} cannot be listed: {error}") from error
    finally:
        client.close()
    return set(programs) - set(printed.decode(errors="replace").split())
