"""The image that Relay's images are built on: pulled, or made from the Debian or Ubuntu mirror that this host uses."""

import hashlib
import os
import platform
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import docker

from relay_core.console.output import note
from relay_stack.errors import StackProblem
from relay_stack.images.build import RECIPE_LABEL, find_image, image_id, tag_latest, tag_of_recipe
from relay_stack.machine.apt_sources import HostArchive, read_host
from relay_stack.machine.consent import Consent
from relay_stack.machine.packages import install, program

ROOTFS = "relay-rootfs"
FALLBACK_IMAGE = "debian:stable-slim"
"""Image to pull if the host cannot make a root file system."""
DEBOOTSTRAP_RECIPE = "1"
"""Version of the system that `_bootstrap` makes; increase it with each change of `_bootstrap`."""


@dataclass(frozen=True)
class Pull:
    """Plan: start from an image that is pulled from a registry."""

    image: str


@dataclass(frozen=True)
class Bootstrap:
    """Plan: make a minimal system from the host's package mirror."""

    archive: HostArchive


def plan_rootfs(
    environment: Mapping[str, str], archive: HostArchive | None, *, is_root: bool, here: str | None = None
) -> Pull | Bootstrap:
    """Decide where the root file system comes from.

    The order is: the image of RELAY_ROOTFS_IMAGE; the host's package mirror, if this process is root; an image that
    Relay made on this engine before; FALLBACK_IMAGE.

    Args:
        environment: environment of this process.
        archive: package mirror of the host; None if the host has none.
        is_root: True if this process runs as root.
        here: tag of a root file system that Relay made on this engine before; None if there is none.
    """
    if image := environment.get("RELAY_ROOTFS_IMAGE"):
        return Pull(image)
    if archive is not None and is_root:
        return Bootstrap(archive)
    return Pull(here or FALLBACK_IMAGE)


def ensure_rootfs(client: docker.DockerClient, scratch: Path, consent: Consent) -> str:
    """Make or pull the image of the root file system, unless it exists, and return its id.

    Raises:
        StackProblem: the image can be neither made nor pulled; the message says what to do.
    """
    archive = read_host()
    plan = plan_rootfs(os.environ, archive, is_root=os.geteuid() == 0, here=_here(client, archive))
    if isinstance(plan, Pull):
        return _pull(client, plan.image)
    digest = _digest(plan)
    own = find_image(client, ROOTFS, digest)
    if own is None:
        own = tag_of_recipe(ROOTFS, digest)
        if program("debootstrap") is None:
            install(("debootstrap",), needed_by="making the base image", consent=consent, log_folder=scratch / "logs")
        _bootstrap(client, plan.archive, scratch, digest)
    tag_latest(client, own, always=False)
    return image_id(client, own) or ""


def _digest(plan: Bootstrap) -> str:
    return hashlib.sha256(repr((DEBOOTSTRAP_RECIPE, plan, platform.machine())).encode()).hexdigest()


def _here(client: docker.DockerClient, archive: HostArchive | None) -> str | None:
    """Return the tag of a root file system that Relay made on this engine; None if there is none.

    Prefer the one made from this host's package archive; else take the first one that the engine lists (the newest).
    """
    if archive is not None and (own := find_image(client, ROOTFS, _digest(Bootstrap(archive)))):
        return own
    names = [name for image in client.images.list(ROOTFS, filters={"label": RECIPE_LABEL}) for name in image.tags]
    return names[0] if names else None


def _pull(client: docker.DockerClient, image: str) -> str:
    if (found := image_id(client, image)) is not None:
        return found
    note(f"Pulling the image {image}")
    try:
        return str(client.images.pull(image).id)
    except (docker.errors.APIError, docker.errors.ImageNotFound) as error:
        raise StackProblem(
            f"Cannot pull {image}, from which Relay's images are made: {error.explanation}. "
            f"Set RELAY_ROOTFS_IMAGE to a Debian or Ubuntu image that you can reach (or that is loaded already), "
            f"or run this once as root on Debian or Ubuntu, where the image is made from the distribution's mirror."
        ) from error


def _bootstrap(client: docker.DockerClient, archive: HostArchive, scratch: Path, digest: str) -> None:
    note(f"Making a minimal {archive.codename} from {archive.mirror} (about half a minute)")
    scratch.mkdir(parents=True, exist_ok=True)
    log_file = scratch / "logs" / "debootstrap.log"
    log_file.parent.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="rootfs-", dir=scratch) as folder, log_file.open("w") as log:
        # In a separate mount namespace, so that the mounts of a killed debootstrap disappear.
        command = (
            "unshare",
            "--mount",
            "--propagation",
            "private",
            program("debootstrap") or "debootstrap",
            "--variant=minbase",
        )
        # ca-certificates, because image builds may read a package mirror over https.
        arguments = (*command, "--include=ca-certificates", archive.codename, folder, archive.mirror)
        if subprocess.run(arguments, stdout=log, stderr=log, stdin=subprocess.DEVNULL, check=False).returncode != 0:
            reason = log_file.read_text(errors="replace").splitlines()[-15:]
            raise StackProblem("debootstrap failed:\n" + "\n".join(reason) + f"\n(all of it in {log_file})")
        _finish(Path(folder), archive)
        _import(client, Path(folder), digest)


def _finish(folder: Path, archive: HostArchive) -> None:
    (folder / "etc/apt/sources.list").write_text("".join(f"{source.line}\n" for source in archive.sources))
    (folder / "etc/hostname").unlink(missing_ok=True)
    for leftover in ("var/cache/apt/archives", "var/lib/apt/lists"):
        shutil.rmtree(folder / leftover, ignore_errors=True)
        (folder / leftover / "partial").mkdir(parents=True)


def _import(client: docker.DockerClient, folder: Path, digest: str) -> None:
    repository, _, tag = tag_of_recipe(ROOTFS, digest).partition(":")
    command = ("tar", "--numeric-owner", "--one-file-system", "-C", str(folder), "-c", ".")
    with subprocess.Popen(command, stdout=subprocess.PIPE) as packer:
        client.api.import_image_from_stream(
            packer.stdout, repository=repository, tag=tag, changes=[f"LABEL {RECIPE_LABEL}={digest}", 'CMD ["bash"]']
        )
    if packer.returncode != 0:
        raise StackProblem(f"Packing the root file system failed (tar ended with {packer.returncode}).")
