"""The images that contain a coding agent: built when somebody wants one, as each is several hundred megabytes."""

from pathlib import Path

import docker

from relay_cli.stack.errors import StackProblem
from relay_cli.stack.images import RECIPES, Recipe, build_image, image_id
from relay_cli.stack.own_images import BASE_TAG

AGENT_TAGS = {"claude-code": "relay-claude-code:latest"}
"""Executor → tag of the image that holds its program."""


def ensure_agent_image(client: docker.DockerClient, executor: str, log_folder: Path) -> str:
    """Builds the image of an executor on the present base image, unless the same one is there; returns its id.

    Takes about 25 seconds and a way to PyPI and npm the first time.

    Raises:
        StackProblem: the base image is not there yet, or the build failed; with what to do.
    """
    base = image_id(client, BASE_TAG)
    if base is None:
        raise StackProblem(f"The image {BASE_TAG} is not there yet; `relay up` makes it")
    return build_image(client, Recipe(AGENT_TAGS[executor], RECIPES / executor, {"BASE": base}), log_folder)
