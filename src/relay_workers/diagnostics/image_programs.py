"""Looks for programs in an image."""

from collections.abc import Sequence

from relay_core.settings import get_settings
from relay_workers.agents.programs import probe
from relay_workers.containers.docker.throw_away import output_of


def programs_in(image: str, programs: Sequence[str]) -> set[str]:
    """Return those of the given programs that a shell in the image finds.

    Raises:
        RelayError: no container engine answers, it does not have the image, or the image has no shell.
    """
    return set(programs) - set(output_of(get_settings().docker_host, image, probe(programs)).split())
