"""The two images that every stack needs. Tags contain the recipe's digest, so installations can share an engine."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import docker

from relay_stack.images.build import RECIPES, Recipe, build_image, find_image, tag_latest, tag_of_recipe
from relay_stack.images.rootfs import ensure_rootfs
from relay_stack.machine.consent import Consent

BASE, GIT = "relay-base", "relay-git"
BASE_TAG = f"{BASE}:latest"
"""Tag of the default image of workspaces that people and Docker Compose use (RELAY_DEFAULT_IMAGE)."""
GIT_TAG = f"{GIT}:latest"
"""Tag of the image of the git container that people and Docker Compose use (RELAY_GIT_IMAGE)."""


@dataclass(frozen=True)
class OwnImages:
    """Tags of this installation's images.

    Attributes:
        base: tag of the default image of workspaces.
        git: tag of the image of the git container.
    """

    base: str
    git: str

    def environment(self, present: Mapping[str, str]) -> dict[str, str]:
        """Return the environment variables that name the images to API and worker.

        A variable that is set in `present` keeps its value.
        """
        variables = {"RELAY_DEFAULT_IMAGE": self.base, "RELAY_GIT_IMAGE": self.git}
        return {name: present.get(name) or image for name, image in variables.items()}


def ensure_images(
    client: docker.DockerClient, data_dir: Path, consent: Consent, *, common_names: bool = False
) -> OwnImages:
    """Build the base image and the git image, unless they exist. The first time takes about a minute.

    Args:
        client: client of the engine.
        data_dir: data directory, for logs and temporary files.
        consent: permission to install packages.
        common_names: give the images the tags ``relay-base:latest`` and ``relay-git:latest`` even if other images have
            these tags.

    Raises:
        StackProblem: an image cannot be built; the message says what to do.
    """
    scratch = data_dir / "build"
    arguments = {"ROOTFS": ensure_rootfs(client, scratch, consent)}
    own = [
        ensure_image(client, repository, Recipe(repository, RECIPES / folder, arguments), scratch / "logs")
        for repository, folder in ((BASE, "base"), (GIT, "git"))
    ]
    for image in own:
        tag_latest(client, image, always=common_names)
    return OwnImages(*own)


def ensure_image(client: docker.DockerClient, repository: str, recipe: Recipe, log_folder: Path) -> str:
    """Return the tag of a recipe's image; build the image first if it is missing.

    Raises:
        StackProblem: the build failed; the message contains the end of the output.
    """
    own = tag_of_recipe(repository, recipe.digest)
    if find_image(client, repository, recipe.digest) is None:
        build_image(client, replace(recipe, tag=own), log_folder)
    return own
