"""Build Relay's images. A recipe (Dockerfile folder and arguments) is built only if no image of it exists."""

import hashlib
import io
import os
import re
import tarfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import docker
import requests

from relay_core.console.output import note
from relay_stack.errors import StackProblem

RECIPES = Path(__file__).with_name("recipes")
RECIPE_LABEL = "relay.recipe"
"""Image label whose value is the digest of the recipe that the image was built from."""
PROXY_NAMES = ("http_proxy", "https_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY")
_COLOURS = re.compile(r"\x1b\[[0-9;]*m")
"""Matches colour sequences, which the engine adds to the standard error of a build step."""
CA_FILE = "ca-bundle.crt"
"""File in every build context with the certificates of `own_ca_bundle`; empty if there is no such bundle."""


@dataclass(frozen=True)
class Recipe:
    """A recipe: the sources from which an image is built.

    Attributes:
        tag: name of the image.
        folder: folder with the Dockerfile and the files that it copies.
        build_args: build arguments (`ARG` of the Dockerfile), by name.
    """

    tag: str
    folder: Path
    build_args: Mapping[str, str] = field(default_factory=dict)

    @property
    def digest(self) -> str:
        """SHA-256 of the build arguments and of the folder's files (paths, contents, executable bits), in hex."""
        sha256 = hashlib.sha256(repr(sorted(self.build_args.items())).encode())
        for path in _files(self.folder):
            content = path.read_bytes()
            sha256.update(f"{path.relative_to(self.folder)}\0{_mode(path) & 0o111}\0{len(content)}\0".encode())
            sha256.update(content)
        return sha256.hexdigest()


def own_ca_bundle(environment: Mapping[str, str] = os.environ) -> Path | None:
    """Return the certificate bundle that RELAY_CA_BUNDLE or SSL_CERT_FILE names; None if neither names a file."""
    for name in ("RELAY_CA_BUNDLE", "SSL_CERT_FILE"):
        if (value := environment.get(name)) and Path(value).is_file():
            return Path(value)
    return None


def image_id(client: docker.DockerClient, tag: str) -> str | None:
    """Return the engine's id of an image; None if the engine has no such image."""
    try:
        return str(client.images.get(tag).id)
    except docker.errors.ImageNotFound:
        return None


def recipe_digest(client: docker.DockerClient, tag: str) -> str | None:
    """Return the digest of the recipe that an image was built from; None if Relay built no image with this tag."""
    try:
        labels: dict[str, str] = client.images.get(tag).labels
    except docker.errors.ImageNotFound:
        return None
    return labels.get(RECIPE_LABEL)


def tag_of_recipe(repository: str, digest: str) -> str:
    """Return the tag for the image of a recipe. Installations on the same engine with other recipes use other tags."""
    return f"{repository}:{digest[:12]}"


def find_image(client: docker.DockerClient, repository: str, digest: str) -> str | None:
    """Return the tag of a recipe's image; None if the engine has no image of the recipe.

    If the image has only the tag `latest`, add the tag of `tag_of_recipe`.
    """
    own = tag_of_recipe(repository, digest)
    if recipe_digest(client, own) == digest:
        return own
    if recipe_digest(client, f"{repository}:latest") != digest:
        return None
    client.api.tag(f"{repository}:latest", repository, own.rpartition(":")[2])
    return own


def tag_latest(client: docker.DockerClient, image: str, *, always: bool) -> None:
    """Give an image the tag `latest` of its repository, for people and for Compose.

    Args:
        client: client of the engine.
        image: tag of the image.
        always: True moves the tag even if another image has it. False sets the tag only if no image has it, because
            another installation may use that image.
    """
    repository = image.rpartition(":")[0]
    if always or image_id(client, f"{repository}:latest") is None:
        client.api.tag(image, repository, "latest")


def build_image(client: docker.DockerClient, recipe: Recipe, log_folder: Path) -> str:
    """Build the image of a recipe, unless it exists, and return its id.

    Print a note at the start of each RUN step. Write the whole output to a file in `log_folder`.

    Raises:
        StackProblem: the build failed; the message contains the end of the output.
    """
    if recipe_digest(client, recipe.tag) == recipe.digest:
        return image_id(client, recipe.tag) or ""
    note(f"Building the image {recipe.tag}")
    log_folder.mkdir(parents=True, exist_ok=True)
    log_file = log_folder / f"image-{recipe.tag.replace('/', '_').replace(':', '_')}.log"
    stream = client.api.build(
        fileobj=_context(recipe.folder),
        custom_context=True,
        tag=recipe.tag,
        buildargs={**{name: os.environ[name] for name in PROXY_NAMES if name in os.environ}, **recipe.build_args},
        labels={RECIPE_LABEL: recipe.digest},
        rm=True,
        forcerm=True,
        decode=True,
    )
    try:
        _follow(stream, log_file, recipe.tag)
    except requests.RequestException as error:
        raise StackProblem(f"The engine stopped answering while it built {recipe.tag}: {error}") from error
    return image_id(client, recipe.tag) or ""


def _follow(stream: Iterator[dict[str, Any]], log_file: Path, tag: str) -> None:
    tail: list[str] = []
    step = ""
    with log_file.open("w") as log:
        for event in stream:
            text = str(event.get("stream") or event.get("status") or event.get("error") or "")
            log.write(text)
            tail = [*tail, *_COLOURS.sub("", text).splitlines()][-25:]
            step = text if text.startswith("Step ") else step
            if text.startswith(" ---> Running in") and " : RUN " in step:  # other steps take no time
                note(f"  {tag}: {step.partition(' : ')[0].lower()}")
            if "error" in event:
                end = "\n".join(line for line in tail if line.strip())
                raise StackProblem(f"Building {tag} failed (all of it in {log_file}):\n{end}")


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts)


def _mode(path: Path) -> int:
    """Return the mode of a file for the build context: 755 if the file is executable, else 644, whatever the umask."""
    return 0o755 if path.stat().st_mode & 0o100 else 0o644


def _context(folder: Path) -> io.BytesIO:
    """Return a tar archive of the folder and the certificate bundle. Fixed file times keep the engine's cache valid."""
    packed = io.BytesIO()
    bundle = own_ca_bundle()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        for path in _files(folder):
            _add(archive, str(path.relative_to(folder)), path.read_bytes(), _mode(path))
        _add(archive, CA_FILE, bundle.read_bytes() if bundle else b"", 0o644)
    packed.seek(0)
    return packed


def _add(archive: tarfile.TarFile, name: str, content: bytes, mode: int) -> None:
    entry = tarfile.TarInfo(name)
    entry.size, entry.mode = len(content), mode
    archive.addfile(entry, io.BytesIO(content))
