"""The images that every stack needs. Their names tell the recipe, so that installations on one engine do not fight."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import docker

from relay_stack.images.build import RECIPES, Recipe, build_image, find_made, named, take_common_name
from relay_stack.images.rootfs import ensure_rootfs
from relay_stack.machine.consent import Consent

BASE, GIT = "relay-base", "relay-git"
BASE_TAG = f"{BASE}:latest"
"""The common name of the default image of workspaces, for people and for Compose (RELAY_DEFAULT_IMAGE)."""
GIT_TAG = f"{GIT}:latest"
"""That of the image of the git container (RELAY_GIT_IMAGE)."""


@dataclass(frozen=True)
class OwnImages:
    """The images of this installation, by the names that are its own."""

    base: str
    git: str

    def environment(self, given: Mapping[str, str]) -> dict[str, str]:
        """What API and worker are told, where the environment does not say it already."""
        wanted = {"RELAY_DEFAULT_IMAGE": self.base, "RELAY_GIT_IMAGE": self.git}
        return {name: given.get(name) or image for name, image in wanted.items()}


def ensure_images(
    client: docker.DockerClient, data_dir: Path, consent: Consent, *, common_names: bool = False
) -> OwnImages:
    """Makes the base and git images unless the same ones are there (about a minute the first time).

    Args:
        client: of the engine.
        data_dir: gets logs and what is needed meanwhile.
        consent: to install packages.
        common_names: let ``relay-base:latest`` and ``relay-git:latest`` name these, whatever they name now.

    Raises:
        StackProblem: they cannot be made; with what to do.
    """
    scratch = data_dir / "build"
    arguments = {"ROOTFS": ensure_rootfs(client, scratch, consent)}
    own = [
        ensure_image(client, repository, Recipe(repository, RECIPES / folder, arguments), scratch / "logs")
        for repository, folder in ((BASE, "base"), (GIT, "git"))
    ]
    for image in own:
        take_common_name(client, image, always=common_names)
    return OwnImages(*own)


def ensure_image(client: docker.DockerClient, repository: str, recipe: Recipe, log_folder: Path) -> str:
    """The name of the image of a recipe, built where it is not there.

    Raises:
        StackProblem: the build failed; with the end of its output.
    """
    own = named(repository, recipe.digest)
    if find_made(client, repository, recipe.digest) is None:
        build_image(client, replace(recipe, tag=own), log_folder)
    return own
