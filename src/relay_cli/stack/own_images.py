"""The images that every stack needs."""

from pathlib import Path

import docker

from relay_cli.stack.consent import Consent
from relay_cli.stack.images import RECIPES, Recipe, build_image
from relay_cli.stack.rootfs import ensure_rootfs

BASE_TAG = "relay-base:latest"
"""Default image of workspaces (RELAY_DEFAULT_IMAGE)."""
GIT_TAG = "relay-git:latest"
"""Image of the git container (RELAY_GIT_IMAGE)."""


def ensure_images(client: docker.DockerClient, data_dir: Path, consent: Consent) -> None:
    """Makes the base and git images unless the same ones are there (about a minute the first time).

    Raises:
        StackProblem: they cannot be made; with what to do.
    """
    scratch = data_dir / "build"
    rootfs = ensure_rootfs(client, scratch, consent)
    for tag, folder in ((BASE_TAG, "base"), (GIT_TAG, "git")):
        build_image(client, Recipe(tag, RECIPES / folder, {"ROOTFS": rootfs}), scratch / "logs")
